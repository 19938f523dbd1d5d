from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.interface import Metrics
from stages.model.files import load_model
from stages.pretraining import annealing
from stages.pretraining.phase import Validation
from stages.tokenizer.corpus import Mix
from stages.training.optimizer import AdamW
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, settings
from tests.recorder import Recorder

QUALITY = Mix(general=0.35, math=0.35, code=0.2, multilingual=0.1)
STEPS = 8  # 4,000 tokens x 0.25 / 128


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """All weights after each step of any optimizer, matrices first."""
    seen: list[list[Tensor]] = []
    step = AdamW.step

    def keep(optimizer: AdamW, lr: float) -> None:
        step(optimizer, lr)
        ordered = sorted(optimizer.parameters.values(), key=lambda p: p.dim() <= 1)
        seen.append([p.detach().clone() for p in ordered])

    monkeypatch.setattr(AdamW, "step", keep)
    return seen


def run(world: World, directory: Path, checkpoints: int, control: bool = False) -> Metrics:
    section = annealing.Annealing(start=0.5, mix=QUALITY, checkpoints=checkpoints, control=control)
    config = annealing.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, section)
    outputs = {"model": directory / "model", "curve": directory / "curve.csv"}
    return annealing.run(config, world.pretraining_inputs, outputs, Recorder(directory, member="flagship"))


@pytest.mark.parametrize(("checkpoints", "steps"), [(1, [8]), (2, [4, 8]), (3, [2, 5, 8]), (8, list(range(1, 9)))])
def test_the_model_is_the_mean_of_as_many_checkpoints_as_asked_for(
    checkpoints: int, steps: list[int], world: World, tmp_path: Path, weights: list[list[Tensor]]
) -> None:
    metrics = run(world, tmp_path, checkpoints)
    assert metrics["steps"] == len(weights) == STEPS and metrics["averaged_checkpoints"] == checkpoints
    names = [
        name for name, p in sorted(load_model(world.model).named_parameters(), key=lambda item: item[1].dim() <= 1)
    ]
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert set(names) == set(saved)
    for place, name in enumerate(names):
        mean = sum(weights[step - 1][place] for step in steps) / checkpoints
        assert torch.allclose(saved[name], mean, atol=1e-6), name


def test_the_numbers_are_those_of_the_models(world: World, tmp_path: Path) -> None:
    metrics = run(world, tmp_path, 4, control=True)

    def losses(directory: Path) -> Any:
        return Validation(world.shards, MIX.shares(), PRETRAINING, settings(), 1).losses(load_model(directory))

    before, after = losses(world.model), losses(tmp_path / "model")
    assert metrics["loss_before"]["value"] == pytest.approx(before.mean())
    assert metrics["validation_loss"]["value"] == pytest.approx(after.mean())
    value = {name: entry["value"] for name, entry in metrics.items() if isinstance(entry, dict) and "value" in entry}
    assert value["change"] == pytest.approx(value["validation_loss"] - value["loss_before"])
    assert value["average_minus_last"] == pytest.approx(value["validation_loss"] - value["loss_last_checkpoint"])
    assert value["against_control"] == pytest.approx(value["validation_loss"] - value["loss_control"])
    assert value["change"] < 0
    for name in ("change", "average_minus_last", "against_control"):
        assert metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"]


def test_one_checkpoint_averaged_is_the_last_one(world: World, tmp_path: Path) -> None:
    metrics = run(world, tmp_path, 1)
    assert metrics["average_minus_last"]["value"] == 0
    assert metrics["validation_loss"] == metrics["loss_last_checkpoint"]


def test_the_rate_falls_linearly_to_nothing(world: World, tmp_path: Path) -> None:
    run(world, tmp_path, 2)
    header, *lines = (tmp_path / "curve.csv").read_text().splitlines()
    rates = [float(line.split(",")[header.split(",").index("lr")]) for line in lines]
    peak = 0.5 * LEARNING_RATE.at(load_model(world.model).config.parameters)
    assert rates == pytest.approx([peak * (1 - step / STEPS) for step in range(STEPS)])
