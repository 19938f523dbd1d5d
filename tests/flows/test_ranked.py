"""Every stage that ranks train gives on two of them what it gives on one process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.execution.launcher import DISTRIBUTED_STAGES
from tests.fixtures import make_world
from tests.flows.ranked import LAYOUTS, STAGES, STOP, TUNED

HOUSE = Path(__file__).resolve().parents[2]
LAID_OUT = [f"{stage}, {layout}" for stage in (*TUNED, "safety.tuning") for layout in LAYOUTS]
CONTINUED = [f"{stage}, from {left}" for stage in TUNED for left in ("one process", "ranks")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests.flows.ranked found, by name."""
    root, out = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("ranked")
    make_world(root)
    command = [sys.executable, "-W", "ignore", "-m", "tests.flows.ranked", str(root), str(out)]
    subprocess.run(command, cwd=HOUSE, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of metrics or of a curve, with the path to each."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(part, f"{name}/{key}")
    else:
        yield name, value


@pytest.mark.parametrize("name", [*STAGES, *CONTINUED, *LAID_OUT])
def test_two_ranks_train_what_one_process_trains(name: str, results: dict[str, Any]) -> None:
    alone, ranks = (dict(numbers(results[f"{name}: {how}"])) for how in ("alone", "ranks"))
    if name.startswith("posttraining.dpo, "):  # at first the policy is the reference: the margin's sign is rounding
        assert alone["/curve/0/margin"] == pytest.approx(0, abs=1e-6)
        for left in ("/curve/0/accuracy", "/metrics/accuracy"):
            del alone[left], ranks[left]
    assert ranks == pytest.approx(alone, rel=1e-5, abs=1e-6)
    assert results[f"{name}: weights"] < 1e-6


@pytest.mark.parametrize("name", CONTINUED)
def test_a_run_goes_on_where_another_kind_of_run_was_stopped(name: str, results: dict[str, Any]) -> None:
    steps = results[f"{name}: alone"]["curve"][-1]["step"]
    assert any(f"resumes at step {STOP} of {steps:g}" in note for note in results[f"{name}: notes"])
    assert not any("goes on" in note for note in results[f"{name.partition(',')[0]}: notes"])


def test_these_are_all_stages_that_ranks_train(results: dict[str, Any]) -> None:
    assert set(STAGES) == set(DISTRIBUTED_STAGES)
    for stage in STAGES:
        curve = results[f"{stage}: alone"]["curve"]
        first = results["pretraining.initial: alone" if stage.startswith("pretraining") else f"{stage}: alone"]["curve"]
        assert stage == "safety.tuning" or (len(curve) > STOP and curve[-1]["loss"] < first[0]["loss"])
    assert results["safety.tuning: alone"]["metrics"]["wrong_answers"] > 0  # else there was no DPO
    assert {row["length"] for row in results["pretraining.long_context: alone"]["metrics"]["needles"]} == {32, 48, 64}


def test_a_rank_without_rows_and_ranks_with_other_data_are_refused(results: dict[str, Any]) -> None:
    assert "1 rows or pairs a step leave some of dp 2 idle" in results["idle: refused"]
    assert "the ranks do not have the same data" in results["other data: refused"]
