"""kill -9 at any step, run again: the same bytes as an uninterrupted run, for each stage that trains."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import World, contents, write_posttraining

ROOT = Path(__file__).parents[2]
STAGES = ("initial", "long_context", "annealing", "sft", "dpo", "reward")


@pytest.fixture(scope="module")
def ended(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("killed")
    write_posttraining(world.documents)
    command = [sys.executable, "-m", "tests.training.killed", str(world.documents.parent), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(stage: str, ended: Path) -> None:
    log = json.loads((ended / stage / "log.json").read_text())
    straight, *killed, last = log["codes"]
    assert straight == last == 0
    assert killed == [-signal.SIGKILL] * 4
    assert sum("resumes at step" in note for note in log["notes"]) >= 4
    made = contents(ended / stage / "straight" / "made")
    assert contents(ended / stage / "killed" / "made") == made
    assert {"metrics.json", "curve.csv", "model/model.safetensors"} <= set(made)
