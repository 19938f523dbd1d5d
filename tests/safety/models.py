"""Models for the tests of the safety suite: untrained ones in a directory, and ones whose replies the test decides."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.model.files import save_model
from stages.model.llama import Llama, LlamaConfig
from stages.posttraining.respond import Responder
from stages.safety import red_team, transcript, uplift
from stages.safety.transcript import Dialog, format_dialog
from stages.tasks import generate
from stages.tokenizer import bpe


def save_untrained_model(directory: Path, seed: int, chat: bool, scale: float = 1.0) -> Path:
    """Saves a tiny model with random weights, multiplied by `scale`."""
    if not (directory.parent / "tokenizer.json").exists():
        texts = [f"{e.prompt} {e.answer}" for task in ("safety", "code") for e in generate(task, "web", 40, 0)]
        bpe.save(bpe.train(texts, 400), directory.parent)
    model = Llama(LlamaConfig(400, 16, 1, 2, 1, 32, tie_word_embeddings=True)).init_weights(seed)
    for parameter in model.parameters():
        parameter.data *= scale
    save_model(model, directory, directory.parent, 256, chat=chat)
    return directory


def script_replies(monkeypatch: pytest.MonkeyPatch, answers: Callable[[object, str], str]) -> dict[str, Responder]:
    """Makes responders "before" and "after" that reply answers(responder, text) to a dialog."""

    def reply(responder: object, dialogs: Sequence[Dialog], sampling: object, **_: object) -> list[str]:
        return [answers(responder, format_dialog(dialog)) for dialog in dialogs]

    for module in (red_team, transcript, uplift):
        monkeypatch.setattr(module, "reply", reply)
    return {"before": "before", "after": "after"}  # type: ignore[dict-item]
