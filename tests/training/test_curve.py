"""The history of a training."""

from pathlib import Path

import pytest

from stages.model.files import load_model
from stages.training.curve import tail_mean, write_curve
from stages.training.language_modelling import next_token_loss
from stages.training.loop import train
from stages.training.schedule import Schedule
from tests.fixtures import World, settings
from tests.recorder import Recorder
from tests.training.trainings import batches


def test_logged_and_written_values_are_the_history(world: World, tmp_path: Path) -> None:
    context = Recorder(tmp_path)
    history, *_ = train(
        load_model(world.model),
        batches(world),
        next_token_loss,
        Schedule(1e-3, 3),
        settings(),
        scratch=tmp_path,
        context=context,
        title="test",
        first_step=10,
    )
    assert [step for step, _ in context.points] == [11, 12, 13]
    assert [values["loss"] for _, values in context.points] == [row["loss"] for row in history]
    assert [row["tokens"] for row in history] == [192, 384, 576]
    write_curve(tmp_path / "curve.csv", history)
    header, *lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert header.split(",")[:3] == ["step", "tokens", "lr"] and "seconds" not in header and len(lines) == 3
    assert float(lines[2].split(",")[header.split(",").index("loss")]) == pytest.approx(history[2]["loss"], rel=1e-8)
    history = [{"loss": float(value), "margin": float(-value)} for value in range(100)]
    assert tail_mean(history) == 97
    assert tail_mean(history, "margin", steps=20) == -89.5 and tail_mean(history[:3], steps=20) == 1
