"""Talk to any model the DAG made; the answer streams into the terminal.

    python -m flows.chat models/flagship/chat
    python -m flows.chat models/small/chat --ask "What is 3 + 4?"

A base model (no chat template) continues your text instead of answering. An empty line or Ctrl-D ends.
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.chat", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a model directory, for example models/flagship/chat")
    parser.add_argument("--ask", metavar="TEXT", help="answer this one message and end")
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="share of the probability mass to draw from")
    parser.add_argument("--max-new-tokens", type=int, default=128)
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
    room = context_length(arguments.model) - arguments.max_new_tokens
    for said in [arguments.ask] if arguments.ask else lines():
        dialog = [*dialog, Message("user", said)]
        prompt = chat.prompt(dialog) if chats else [chat.begin_of_text, *chat.plain(said)]
        while chats and len(prompt) > room and len(dialog) > 1:
            # What no longer fits into the context the model was trained on is forgotten, oldest first.
            dialog = dialog[1:]
            prompt = chat.prompt(dialog)
        answer = ""
        for piece in stream(model, chat, prompt, arguments):
            print(piece, end="", flush=True)
            answer += piece
        print()
        dialog = [*dialog, Message("assistant", answer)]


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


def stream(model: Llama, chat: ChatFormat, prompt: list[int], arguments: argparse.Namespace) -> Iterator[str]:
    """The answer in pieces of text; a character of several tokens comes when its last one is there."""
    tokens: list[int] = []
    shown = ""
    for _, token in generate.stream(
        model, [prompt], max_new_tokens=arguments.max_new_tokens, stop=chat.stop, temperature=arguments.temperature,
        top_p=arguments.top_p, seed=arguments.seed,
    ):  # fmt: skip
        tokens.append(token)
        text = chat.tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text


if __name__ == "__main__":
    main()
