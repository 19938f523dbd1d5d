"""Checkpoints: torn, damaged, refused, resumed."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from stages.interface import StageError
from stages.model.files import load_model
from stages.training import checkpoint
from stages.training.checkpoint import Average, TrainingState
from stages.training.parameters import make_optimizer
from tests.fixtures import World, settings
from tests.training.trainings import batches, run, same


def test_a_checkpoint_of_other_data_is_refused(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    run(world, tmp_path, batches(world), often, steps=3)
    with pytest.raises(StageError, match="trained on other data"):
        run(world, tmp_path, batches(world, seed=2), often, steps=3)
    with pytest.raises(StageError, match="trained on other data"):
        run(world, tmp_path, batches(world, size=5), often, steps=3)


def test_a_partial_checkpoint_is_ignored(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    straight, _, _ = run(world, tmp_path / "a", batches(world), settings(), steps=5)
    run(world, tmp_path / "b", batches(world), often, steps=5)
    newest = tmp_path / "b" / "step-000000005"
    newest.rename(tmp_path / "b" / "partial")
    (tmp_path / "b" / "partial" / "state.json").write_text('{"step": 5, "his')
    resumed, _, _ = run(world, tmp_path / "b", batches(world), often, steps=5)
    assert same(resumed, straight)
    assert json.loads((newest / "state.json").read_text())["step"] == 5


def test_a_run_with_max_steps_resumes_to_the_same_weights(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    half, history, _ = run(world, tmp_path / "a", batches(world), often, steps=6, max_steps=3)
    straight, rows, _ = run(world, tmp_path / "b", batches(world), settings(), steps=6)
    assert [row["lr"] for row in history] == [row["lr"] for row in rows[:3]]  # on the whole run's schedule
    whole, _, _ = run(world, tmp_path / "a", batches(world), often, steps=6)
    assert same(whole, straight) and not same(half, straight)


@pytest.mark.parametrize("keep", [1, 3])
def test_keep_checkpoints_are_kept(world: World, tmp_path: Path, keep: int) -> None:
    run(world, tmp_path, batches(world), settings(checkpoint_seconds=1e-9, keep_checkpoints=keep), steps=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:09d}" for n in range(6 - keep, 6)]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "sha256.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_checkpoint_is_renamed_and_the_previous_one_is_loaded(
    file: str, harm: str, world: World, tmp_path: Path
) -> None:
    often = settings(checkpoint_seconds=1e-9)
    straight, _, _ = run(world, tmp_path, batches(world), often, steps=3)
    path = tmp_path / "step-000000003" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    if harm == "gone":
        path.unlink()
    model, notes = load_model(world.model), list[str]()
    state = TrainingState(model, make_optimizer(model, often), Average(), batches(world).fingerprint)
    assert state.load_checkpoint(tmp_path, notes.append) and state.step == 2
    assert len(notes) == 1 and "step-000000003 is damaged" in notes[0] and "trying the previous checkpoint" in notes[0]
    resumed, _, _ = run(world, tmp_path, batches(world), often, steps=3)
    assert same(resumed, straight)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000002", "step-000000003", "damaged-step-000000003"}


@pytest.mark.parametrize("at", range(1, 7))
def test_a_full_disk_is_reported_and_the_previous_checkpoint_is_kept(
    at: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the writes of the third checkpoint it is that finds no space."""
    writes, fsync = [], checkpoint.os.fsync

    def full(file: int) -> None:
        writes.append(file)
        if len(writes) == 2 * 6 + at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    often = settings(checkpoint_seconds=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(StageError, match=r"no space left for the checkpoint of step 3 .*free some and run again"):
            run(world, tmp_path / "a", batches(world), often, steps=9)
    whole = [path.name for path in sorted((tmp_path / "a").iterdir())]
    assert whole[:2] == ["step-000000001", "step-000000002"] and "partial" not in whole
    resumed, _, _ = run(world, tmp_path / "a", batches(world), often, steps=9)
    straight, _, _ = run(world, tmp_path / "b", batches(world), settings(), steps=9)
    assert same(resumed, straight)


def test_a_full_disk_is_recognised_in_safetensors_errors(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors raises an error of its own, with the system's number in its text; any other stays what it is."""
    model = load_model(world.model)
    state = TrainingState(model, make_optimizer(model, settings()), Average(), "data", step=1)

    def failing(text: str) -> Any:
        def save_file(*_: Any) -> None:
            raise SafetensorError(f"Error while serializing: I/O error: {text}")

        return save_file

    monkeypatch.setattr(checkpoint, "save_file", failing("No space left on device (os error 28)"))
    with pytest.raises(StageError, match=str(tmp_path)):
        state.save(tmp_path)
    monkeypatch.setattr(checkpoint, "save_file", failing("Input/output error (os error 5)"))
    with pytest.raises(SafetensorError, match="os error 5"):
        state.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
