import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stages.interface import Metrics, StageError
from stages.model.files import context_length, load_model
from stages.pretraining import long_context
from stages.pretraining.needles import DEPTHS
from stages.training.optimizer import load_optimizer_state, save_optimizer_state
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, settings
from tests.recorder import Recorder


def section(**changes: Any) -> long_context.LongContext:
    usual = {"rate": 0.3, "lengths": [48, 64, 80], "segments": 2, "loss_tolerance": 100.0, "needle_threshold": 0.0}
    return long_context.LongContext.model_validate(usual | {"needles": 1} | changes)


def run(world: World, directory: Path, **changes: Any) -> tuple[Metrics, Recorder]:
    config = long_context.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, section(**changes))
    outputs = {"model": directory / "model", "curve": directory / "curve.csv"}
    context = Recorder(directory, member="flagship")
    return long_context.run(config, world.pretraining_inputs, outputs, context), context


def rows(metrics: Metrics) -> list[tuple[int, int, bool]]:
    return [(row["length"], row["segment"], row["passed"]) for row in metrics["gate"]]


def test_a_gate_that_asks_nothing_lets_every_length_through(world: World, tmp_path: Path) -> None:
    metrics, context = run(world, tmp_path)
    assert rows(metrics) == [(48, 1, True), (64, 1, True), (80, 1, True)]
    assert metrics["gates_passed"] == metrics["lengths"] == 3
    assert metrics["context_length"] == context_length(tmp_path / "model") == 80
    # The needles of the last gate: every length so far, the initial one among them, at every depth.
    assert [(row["length"], row["depth"]) for row in metrics["needles"]] == [
        (length, depth) for length in (32, 48, 64, 80) for depth in DEPTHS
    ]
    lines = (tmp_path / "curve.csv").read_text().splitlines()[1:]
    steps, tokens = ([int(line.split(",")[column]) for line in lines] for column in (0, 1))
    assert steps == list(range(1, len(steps) + 1)) and tokens == sorted(tokens)
    assert [step for step, _ in context.points] == steps
    # Each length gets a third of the phase's 1,000 tokens, in whole steps of about batch_tokens.
    assert tokens[-1] == sum(
        round(1000 / 3 / (128 // length * length)) * (128 // length * length) for length in (48, 64, 80)
    )


def test_the_phase_goes_on_with_the_moments_of_the_one_before(world: World, tmp_path: Path) -> None:
    config = long_context.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, section(lengths=[48]))
    before = shutil.copytree(world.model, tmp_path / "before")
    names = [name for name, _ in load_model(before).named_parameters()]
    optimizer_state = {
        f"{name}/{kind}": torch.full_like(p, size)
        for name, p in load_model(before).named_parameters()
        for kind, size in (("first", 0.0), ("second", 1e6))
    }
    save_optimizer_state(optimizer_state | {f"{name}/steps": torch.tensor(100.0) for name in names}, before)
    result = {}
    for name, inputs in (("with", {"model": before}), ("without", {})):
        outputs = {"model": tmp_path / name, "curve": tmp_path / f"{name}.csv"}
        context = Recorder(tmp_path / f"{name}-scratch", member="flagship")
        long_context.run(config, world.pretraining_inputs | inputs, outputs, context)
        changed = zip(load_model(tmp_path / name).parameters(), load_model(before).parameters(), strict=True)
        result[name] = max(float((a - b).detach().abs().max()) for a, b in changed)
        steps = len(outputs["curve"].read_text().splitlines()) - 1
        left = load_optimizer_state(tmp_path / name)
        assert left is not None and float(left[f"{names[0]}/steps"]) == (100 if name == "with" else 0) + steps
    assert result["with"] < 0.1 * result["without"]  # so large a second moment makes the steps small


def test_needles_that_are_not_found_stop_it_at_the_first_length(world: World, tmp_path: Path) -> None:
    metrics, context = run(world, tmp_path, needle_threshold=1.0)
    assert rows(metrics) == [(48, 1, False), (48, 2, False)]
    assert metrics["gates_passed"] == 0
    # What is claimed is what was mastered, not what was trained at.
    assert metrics["context_length"] == context_length(tmp_path / "model") == PRETRAINING.length
    assert metrics["trained_length"] == 48
    assert [(row["recovered"], row["solved"]) for row in metrics["gate"]] == [(True, False)] * 2
    assert any("48 was not mastered (needles 0.00" in note for note in context.notes)


def test_the_context_is_the_last_length_mastered(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Needles are found up to 64 and not at 80."""

    def result(model: Any, chat: Any, lengths: Any, *others: Any) -> list[dict[str, Any]]:
        accuracy = {length: float(length < 80) for length in lengths}
        return [{"length": n, "depth": depth, "accuracy": accuracy[n], "n": 1} for n in lengths for depth in DEPTHS]

    monkeypatch.setattr(long_context, "measure_needles", result)
    metrics, _ = run(world, tmp_path, needle_threshold=1.0)
    assert rows(metrics) == [(48, 1, True), (64, 1, True), (80, 1, False), (80, 2, False)]
    assert metrics["context_length"] == context_length(tmp_path / "model") == 64
    assert (metrics["trained_length"], metrics["gates_passed"], metrics["lengths"]) == (80, 2, 3)


def test_a_short_context_loss_that_has_not_recovered_stops_it_too(world: World, tmp_path: Path) -> None:
    metrics, _ = run(world, tmp_path, loss_tolerance=0.0, segments=1, rate=1.0)
    for row in metrics["gate"]:
        assert row["passed"] == row["recovered"] == (row["loss_change"]["value"] <= 0)
    assert len(metrics["gate"]) == 1 + metrics["gates_passed"] or metrics["gates_passed"] == 3


def test_lengths_must_ascend_from_what_was_pretrained(world: World, tmp_path: Path) -> None:
    for lengths, message in (([64, 48], "ascend"), ([0, 64], "greater than or equal to 16")):
        with pytest.raises(ValidationError, match=message):
            section(lengths=lengths)
    with pytest.raises(StageError, match=r"long_context\.lengths: 32 is not above pretraining\.shared\.length, 32"):
        run(world, tmp_path, lengths=[32, 64])
