"""Talk to a model of the DAG; the answer streams into the terminal.

A base model (no chat template) continues the text instead of answering. An empty line or Ctrl-D ends the dialog. The
oldest messages are dropped when the dialog no longer fits into the context that the model was trained on.

Examples:
    herd chat models/flagship/chat
    herd chat models/small/chat --ask "What is 3 + 4?"
"""

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows import command
from flows.arguments import at_least, between, not_empty
from stages.interface import StageError

if TYPE_CHECKING:  # imports torch
    from stages.model.llama import Llama
    from stages.tokenizer.chat import ChatFormat, Message

DEFAULT_NEW_TOKENS = 128
"""The most tokens of an answer, unless --max-new-tokens is given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model directory, for example models/flagship/chat")
    parser.add_argument("--ask", type=not_empty, metavar="TEXT", help="answer this one message and end")
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")
    parser.add_argument("--temperature", type=between(0.01, 100, 0), default=0.0, help="0 is greedy decoding (default)")
    parser.add_argument(
        "--top-p", type=between(1e-6, 1), default=1.0, help="probability mass of nucleus sampling (default: 1)"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=at_least(1),
        metavar="N",
        help=f"tokens of an answer (default: what the context leaves, at most {DEFAULT_NEW_TOKENS})",
    )
    parser.add_argument("--seed", type=at_least(0, 2**63 - 1), default=0)


def main(options: argparse.Namespace) -> None:
    try:
        run_dialog(options)
    except KeyboardInterrupt:
        print()


def run_dialog(options: argparse.Namespace) -> None:
    """Answers messages until the user ends the dialog."""
    from stages.model.files import context_length, is_chat, load_model
    from stages.tokenizer import bpe
    from stages.tokenizer.chat import ChatFormat, Message

    model = load_model(options.model).eval()
    chat = ChatFormat(bpe.load(options.model))
    dialog = [Message("system", options.system)] if options.system else []
    is_chat_model = is_chat(options.model)
    context = context_length(options.model)
    for message in read_messages() if options.ask is None else [options.ask]:
        previous, dialog = dialog, [*dialog, Message("user", message)]
        if is_chat_model:
            dialog = truncate_dialog(chat, dialog, context, options.max_new_tokens)
        prompt = chat.encode_prompt(dialog) if is_chat_model else [chat.begin_of_text, *chat.encode_text(message)]
        try:
            max_new_tokens = answer_tokens(prompt, context, options.max_new_tokens)
        except StageError as error:
            if options.ask is not None:
                raise
            print(f"herd chat: {error}", file=sys.stderr)
            dialog = previous
            continue
        answer = ""
        for piece in stream_text(model, chat, prompt, max_new_tokens, options):
            print(piece, end="", flush=True)
            answer += piece
        print()
        dialog = [*dialog, Message("assistant", answer)]


def truncate_dialog(
    chat: "ChatFormat", dialog: list["Message"], context: int, requested: int | None
) -> list["Message"]:
    """Drops the oldest messages, but not the system message, until an answer of `requested` tokens fits into the
    context, or one of half the context if that is shorter."""
    answer = min(DEFAULT_NEW_TOKENS if requested is None else requested, context // 2)
    num_system = 1 if dialog[0].role == "system" else 0
    while len(dialog) > num_system + 1 and len(chat.encode_prompt(dialog)) > context - answer:
        dialog = [*dialog[:num_system], *dialog[num_system + 1 :]]
    return dialog


def answer_tokens(prompt: list[int], context: int, requested: int | None) -> int:
    """The most tokens that the answer may have; raises StageError if the prompt fills the context."""
    left = context - len(prompt)
    if left < 1:
        raise StageError(
            f"the message takes {len(prompt)} tokens of the {context} that the model was trained on and leaves none "
            "for the answer; shorten it"
        )
    return min(left, DEFAULT_NEW_TOKENS if requested is None else requested)


def read_messages() -> Iterator[str]:
    """The lines that the user types, up to an empty one."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    while True:
        try:
            message = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not message:
            return
        yield message


def stream_text(
    model: "Llama", chat: "ChatFormat", prompt: list[int], max_new_tokens: int, options: argparse.Namespace
) -> Iterator[str]:
    """The answer in pieces of text; a character of several tokens is yielded with its last token."""
    from stages.model import generate

    tokens: list[int] = []
    shown = ""
    params = generate.SamplingParams(
        max_new_tokens, chat.stop_token_ids, temperature=options.temperature, top_p=options.top_p, seed=options.seed
    )
    for _, token in generate.stream(model, [prompt], params):
        tokens.append(token)
        text = chat.tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
