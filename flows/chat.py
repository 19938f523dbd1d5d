"""Talk to any model the DAG made; the answer streams into the terminal.

    python -m flows.chat models/flagship/chat
    python -m flows.chat models/small/chat --ask "What is 3 + 4?"

A base model (no chat template) continues your text instead of answering. An empty line or Ctrl-D ends. What no longer
fits into the context that the model was trained on is forgotten, oldest first.
"""

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.arguments import at_least, between
from stages.interface import StageError
from stages.model import generate
from stages.model.files import context_length, is_chat, load_model
from stages.model.llama import Llama
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat, Message

LONGEST = 128
"""Tokens of an answer where nothing else is asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.chat", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a model directory, for example models/flagship/chat")
    parser.add_argument("--ask", metavar="TEXT", help="answer this one message and end")
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")
    parser.add_argument(
        "--temperature", type=between(0.01, 100, 0), default=0.0, help="0 takes the likeliest token (default)"
    )
    parser.add_argument(
        "--top-p", type=between(1e-6, 1), default=1.0, help="share of the probability mass to draw from"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=at_least(1),
        metavar="N",
        help=f"tokens of an answer (default: what the context leaves, at most {LONGEST})",
    )
    parser.add_argument("--seed", type=at_least(0, 2**63 - 1), default=0)
    arguments = parser.parse_args()
    if arguments.ask is not None and not arguments.ask.strip():
        parser.error("argument --ask: the message is empty")
    try:
        talk(arguments)
    except StageError as error:
        sys.exit(f"chat: {error}")
    except KeyboardInterrupt:
        print()


def talk(arguments: argparse.Namespace) -> None:
    """The dialog, until the user ends it."""
    model = load_model(arguments.model).eval()
    chat = ChatFormat(bpe.load(arguments.model))
    dialog = [Message("system", arguments.system)] if arguments.system else []
    chats = is_chat(arguments.model)
    context = context_length(arguments.model)
    for said in lines() if arguments.ask is None else [arguments.ask]:
        before, dialog = dialog, [*dialog, Message("user", said)]
        if chats:
            dialog = fitting(chat, dialog, context, arguments.max_new_tokens)
        prompt = chat.prompt(dialog) if chats else [chat.begin_of_text, *chat.plain(said)]
        try:
            most = room(prompt, context, arguments.max_new_tokens)
        except StageError as error:
            if arguments.ask is not None:
                raise
            print(f"chat: {error}", file=sys.stderr)
            dialog = before
            continue
        answer = ""
        for piece in stream(model, chat, prompt, most, arguments):
            print(piece, end="", flush=True)
            answer += piece
        print()
        dialog = [*dialog, Message("assistant", answer)]


def fitting(chat: ChatFormat, dialog: list[Message], context: int, asked: int | None) -> list[Message]:
    """The system message, and the newest others that leave room for an answer: for `asked` tokens, but at most for half
    of the context."""
    wanted = min(LONGEST if asked is None else asked, context // 2)
    first = 1 if dialog[0].role == "system" else 0
    while len(dialog) > first + 1 and len(chat.prompt(dialog)) > context - wanted:
        dialog = [*dialog[:first], *dialog[first + 1 :]]
    return dialog


def room(prompt: list[int], context: int, asked: int | None) -> int:
    """Tokens the answer may have; raises StageError where the context leaves none."""
    left = context - len(prompt)
    if left < 1:
        raise StageError(
            f"the message takes {len(prompt)} tokens of the {context} that the model was trained on, which leaves none "
            "for an answer; shorten it"
        )
    return min(left, LONGEST if asked is None else asked)


def lines() -> Iterator[str]:
    """What the user types, a message a line."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    while True:
        try:
            said = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not said:
            return
        yield said


def stream(
    model: Llama, chat: ChatFormat, prompt: list[int], most: int, arguments: argparse.Namespace
) -> Iterator[str]:
    """The answer in pieces of text; a character of several tokens comes when its last one is there."""
    tokens: list[int] = []
    shown = ""
    for _, token in generate.stream(
        model,
        [prompt],
        max_new_tokens=most,
        stop=chat.stop,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
    ):
        tokens.append(token)
        text = chat.tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text


if __name__ == "__main__":
    main()
