"""`herd chat`: the answer fits what the model's context leaves."""

import io
import re
from pathlib import Path

import pytest

from flows import chat
from flows.command import run
from stages.model import generate
from stages.model.files import save_model
from stages.model.llama import Llama
from stages.tokenizer.chat import Message
from tests.fixtures import World, shape, world

__all__ = ["world"]
CONTEXT = 64


@pytest.fixture(scope="module")
def model(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chat")
    save_model(Llama(shape()).init_weights(1), directory, world.tokenizer, CONTEXT, chat=True)
    return directory


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[list[int], int]:
    """The tokens of the last prompt, and how many an answer to it may have."""
    asked: list[tuple[list[int], int]] = []

    def stream(_: Llama, prompts: list[list[int]], params: generate.SamplingParams) -> list[tuple[int, int]]:
        asked.append((prompts[0], params.max_new_tokens))
        return []

    monkeypatch.setattr(generate, "stream", stream)
    code = run(chat, words)
    assert code == 0
    return asked[-1]


def test_an_answer_has_what_the_prompt_leaves(model: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, most = said(monkeypatch, str(model), "--ask", "1 + 2")
    assert prompt == world.chat.encode_prompt([Message("user", "1 + 2")]) and most == CONTEXT - len(prompt)
    assert said(monkeypatch, str(model), "--ask", "1 + 2", "--max-new-tokens", "5") == (prompt, 5)
    assert said(monkeypatch, str(model), "--ask", "1 + 2", "--max-new-tokens", "500") == (prompt, most)


def test_a_large_context_does_not_make_answers_long() -> None:
    assert chat.answer_tokens([1] * 100, 8192, None) == chat.DEFAULT_NEW_TOKENS
    assert chat.answer_tokens([1] * 100, 8192, 1000) == 1000


def test_the_oldest_messages_make_room(model: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [f"{number} + 1" for number in range(9)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(turns)))
    prompt, most = said(monkeypatch, str(model))
    assert most == CONTEXT - len(prompt) >= CONTEXT // 2
    text = world.chat.tokenizer.decode(prompt)
    assert text.count("+") < len(turns) and turns[-1] in text


def test_the_system_message_stays_however_much_is_asked_for(
    model: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(f"{number} + 1" for number in range(9))))
    prompt, _ = said(monkeypatch, str(model), "--system", "the sea", "--max-new-tokens", "500")
    text = world.chat.tokenizer.decode(prompt)
    assert "the sea" in text and "8 + 1" in text and "0 + 1" not in text


def test_a_line_that_is_too_long_is_said_and_the_dialog_goes_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: World
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the cat sat on a mat " * 30 + "\n1 + 2\n"))
    prompt, _ = said(monkeypatch, str(model))
    assert prompt == world.chat.encode_prompt([Message("user", "1 + 2")])
    assert "chat: the message takes" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_a_question_that_leaves_no_room_is_one_error(
    kind: str, model: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = model if kind == "chat" else world.model
    assert run(chat, [str(directory), "--ask", "the cat sat on a mat " * 30]) == 1
    assert re.match(r"herd chat: the message takes \d+ tokens of the \d+ .* shorten it\n$", capsys.readouterr().err)
