"""Spikes of the loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from torch import Tensor

from stages.interface import StageError
from stages.model.files import load_model
from stages.model.llama import Llama
from stages.training import spikes
from stages.training.language_modelling import next_token_loss
from stages.training.loop import train
from stages.training.schedule import Schedule
from tests.fixtures import World, settings
from tests.recorder import Recorder
from tests.training.trainings import batches, run


def spiking(at: Sequence[int], by: float = 100.0) -> Any:
    """A loss that is so much higher at some steps, the gradient as ever."""
    calls: list[int] = []

    def loss(model: Llama, batch: Any) -> tuple[Tensor, dict[str, float]]:
        calls.append(1)
        value, extra = next_token_loss(model, batch)
        return value + (by * batch.weight if len(calls) in at else 0.0), extra

    return loss


def test_a_spike_is_logged_with_its_batch(world: World, tmp_path: Path) -> None:
    watchful = settings(spike_window=6)
    context = Recorder(tmp_path)
    data = batches(world, size=10)
    history, *_ = train(
        load_model(world.model),
        data,
        spiking([9, 12]),
        Schedule(1e-3, 14),
        watchful,
        scratch=tmp_path,
        context=context,
        title="test",
        first_step=100,
    )
    assert [row["step"] for row in history if row["spike"]] == [9, 12] and spikes.count_spikes(history) == 2
    assert [note.split(":")[1] for note in context.notes] == [" step 109", " step 112"]
    for note, step in zip(context.notes, (8, 11), strict=True):
        for number in range(step * 10, step * 10 + spikes.MAX_NAMES):
            bucket, window = data.mixture.locate(number)
            assert f"sample {number}: {bucket}, window {window} of {data.mixture.windows[bucket]}" in note
        assert note.endswith("and others")


def test_a_diverging_run_is_stopped_and_keeps_the_checkpoint_from_before(world: World, tmp_path: Path) -> None:
    watchful = settings(spike_window=6, spike_steps=3, checkpoint_seconds=1e-9)
    with pytest.raises(StageError, match=r"diverged: the last 3 steps up to 12 were spikes; lower the learning rate"):
        run(world, tmp_path, batches(world), watchful, steps=20, loss=spiking(range(10, 99)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000008", "step-000000009"]
    with pytest.raises(ValidationError, match="more than half of spike_window"):
        settings(spike_window=6, spike_steps=4)


def test_is_spike() -> None:
    usual = [3.0, 3.1, 2.9, 3.2, 2.8, 3.0]  # median 3.0, absolute deviations 0, 0, 0.1, 0.1, 0.2, 0.2
    assert spikes.threshold(usual, 6) == pytest.approx(3.0 + 6 * 1.4826 * 0.1)
    rows = [{"loss": value} for value in usual]
    assert spikes.is_spike(3.9, rows, 6, 6) and not spikes.is_spike(3.88, rows, 6, 6)
    assert not spikes.is_spike(99.0, rows, 7, 6)  # too few steps yet
    assert not spikes.is_spike(99.0, rows, 0, 6)  # switched off
    assert spikes.is_spike(99.0, [{"loss": 50.0}, *rows], 7, 6)  # one spike does not hide the next
    assert not spikes.is_spike(3.0 + 1e-7, [{"loss": 3.0}] * 6, 6, 6)
