"""Examples that several tests of this folder share."""

from pathlib import Path

import pytest

from stages.posttraining import prompts
from stages.posttraining.dpo import DPO
from stages.posttraining.respond import Responder, Sampling
from stages.tasks.example import Example
from tests.fixtures import tuning
from tests.recorder import Recorder

EXAMPLE = Example("arithmetic", "easy", "1 + 2", "3", {"result": 3, "steps": []})
SAMPLING = Sampling(max_new_tokens=4, batch=64)


def prompt_files(directory: Path) -> Path:
    section = prompts.Prompts(demonstrations=2, sampled=2, compared=2, lapses=0.5)
    prompts.run(prompts.Config(1, 1, section), {}, {"prompts": directory}, Recorder(directory))
    return directory


def patch_responses(monkeypatch: pytest.MonkeyPatch, answers: list[str | None]) -> None:
    """Makes every model give these responses to each prompt; None stands for the reference answer."""

    def respond(self: Responder, asked: list[Example], sampling: Sampling, **_: object) -> list[list[str]]:
        return [[e.answer if answer is None else answer for answer in answers] for e in asked]

    monkeypatch.setattr(Responder, "respond", respond)


PAIRS = [("1 + 2", "3", "the cat"), ("the red house", "by the sea and a mat", "no"), ("sum of 12", "19", "7 7 7")]


def dpo_settings(**changes: object) -> DPO:
    usual = {"beta": 0.1, "nll": 0.2, "mask_formatting": True, "tuning": tuning()}
    return DPO.model_validate(usual | changes)


def outputs(directory: Path) -> dict[str, Path]:
    return {"model": directory / "model", "curve": directory / "curve.csv"}
