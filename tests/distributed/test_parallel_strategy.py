"""The one training loop on one process and over ranks: the same losses, gradients and weights."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.training.loader import Mixture
from tests.distributed.train_layouts import FOUR, LENGTH, SIZE, STEPS, STOP, TRAINING, TWO
from tests.fixtures import MIX, World

ROOT = Path(__file__).resolve().parents[2]
CONTINUED = {
    "fsdp, then tp": STOP,
    "fsdp, then pp": STOP - 1,
    "alone, then pp, then cp": STOP + 1,
    "fsdp, then alone": STOP,
}
"""The steps at which they go on; the last checkpoint before "then pp" is damaged."""


@pytest.fixture(scope="module")
def results(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests.distributed.train_layouts found, by name."""
    out = tmp_path_factory.mktemp("ranks")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.distributed.train_layouts",
        str(world.tokens.parent),
        str(out),
    ]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    found = json.loads((out / "results.json").read_text())
    return found["2"] | found["4"]


@pytest.mark.parametrize("name", [*TWO, *FOUR, *CONTINUED])
def test_parallel_training_matches_a_single_process(name: str, results: dict[str, Any]) -> None:
    alone = results["alone, tied" if name == "tp x fsdp" else "alone"]
    history = results[name]
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    for column in ("loss", "grad_norm"):
        assert [row[column] for row in history] == pytest.approx([row[column] for row in alone], rel=1e-5)
    for column in ("lr", "tokens"):
        assert [row[column] for row in history] == [row[column] for row in alone]
    assert max(results[f"{name}: {kind}"] for kind in ("weights", "average", "moments")) < 1e-6
    wanted = results["alone, tied: more" if name == "tp x fsdp" else "alone: more"]  # with the moments it had
    assert results[f"{name}: more"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [*TWO, *FOUR])
def test_parallel_evaluation_matches_a_single_process(name: str, results: dict[str, Any]) -> None:
    """Also where a batch's rows do not divide evenly by the ranks."""
    alone = results[f"{'alone, tied' if name == 'tp x fsdp' else 'alone'}: measured"]
    found = results[f"{name}: measured"]
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert found["misses"] == alone["misses"]
    assert len(set(alone["losses"])) > 8 and 0 < min(alone["misses"]) < max(alone["misses"])


@pytest.mark.parametrize("name", [*TWO, *CONTINUED])
def test_a_run_resumes_from_the_last_intact_checkpoint_of_any_layout(name: str, results: dict[str, Any]) -> None:
    damaged = [f"sharded-{STOP:09d} is damaged (__1_0.distcp has another digest"] if name[-7:] == "then pp" else []
    wanted = [*damaged, f"resumes at step {CONTINUED[name]} of {STEPS}"] if name in CONTINUED else []
    notes = results[f"{name}: notes"]
    assert len(notes) == len(wanted) and all(text in note for text, note in zip(wanted, notes, strict=True))


def test_a_full_disk_on_one_rank_stops_all_and_keeps_the_previous_checkpoint(results: dict[str, Any]) -> None:
    assert re.search(r"no space left for the checkpoint of step 2 \([0-9.]+ MB\); free some", results["full"]["said"])
    assert results["full"]["left"] == ["sharded-000000001"]


def test_the_compared_run_clips_masks_and_learns(world: World, results: dict[str, Any]) -> None:
    alone = results["alone"]
    assert all(row["grad_norm"] > TRAINING.clip for row in alone)
    assert alone[-1]["loss"] < alone[0]["loss"] - 0.5
    batch = Mixture(world.shards, "train", MIX.shares(), LENGTH, 1).batch(0, SIZE)
    assert batch.starts is not None and int((batch.starts[:, -1] > 0).sum()) >= 6  # windows with several documents
    assert 0 < STOP < STEPS
