"""Talk to any model the DAG made; the answer streams into the terminal.

    python -m flows.chat models/flagship/chat
    python -m flows.chat models/small/chat --ask "What is 3 + 4?"

A base model (no chat template) continues your text instead of answering. An empty line or Ctrl-D ends. What no longer
fits into the context that the model was trained on is forgotten, oldest first.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

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
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="share of the probability mass to draw from")
    parser.add_argument("--max-new-tokens", type=int, metavar="N",
                        help=f"tokens of an answer (default: what the context leaves, at most {LONGEST})")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
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
    for said in [arguments.ask] if arguments.ask else lines():
        dialog = [*dialog, Message("user", said)]
        if chats:
            dialog = fitting(chat, dialog, context, arguments.max_new_tokens)
        prompt = chat.prompt(dialog) if chats else [chat.begin_of_text, *chat.plain(said)]
        most = room(prompt, context, arguments.max_new_tokens)
        answer = ""
        for piece in stream(model, chat, prompt, most, arguments):
            print(piece, end="", flush=True)
            answer += piece
        print()
        dialog = [*dialog, Message("assistant", answer)]


def fitting(chat: ChatFormat, dialog: list[Message], context: int, asked: int | None) -> list[Message]:
    """The newest messages that leave room for an answer: for `asked` tokens, else for half of a small context."""
    wanted = min(LONGEST, context // 2) if asked is None else asked
    while len(dialog) > 1 and len(chat.prompt(dialog)) > context - wanted:
        dialog = dialog[1:]
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
        model, [prompt], max_new_tokens=most, stop=chat.stop, temperature=arguments.temperature,
        top_p=arguments.top_p, seed=arguments.seed,
    ):  # fmt: skip
        tokens.append(token)
        text = chat.tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text


if __name__ == "__main__":
    main()
