"""Differences on the same prompts, and intervals."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.interface import StageError
from stages.report.evidence import Evidence, Missing, difference, wilson


def evidence(tmp_path: Path, **models: list[bool]) -> Evidence:
    rows = [
        {"model": name, "prompt": f"{number}" if name != "other" else f"x{number}", "right": right}
        for name, given in models.items()
        for number, right in enumerate(given)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "answers.parquet")
    return Evidence({"answers": tmp_path}, 1)


def test_paired_difference_by_hand(tmp_path: Path) -> None:
    found = evidence(tmp_path, first=[True, False, False, False], last=[True, True, True, False]).paired(
        "first", "last"
    )
    # Differences 0, 1, 1, 0: mean 1/2, standard deviation sqrt(1/3), standard error sqrt(1/12).
    assert found["value"] == 0.5
    assert found["high"] - found["value"] == pytest.approx(1.96 * (1 / 12) ** 0.5)
    assert found["n"] == 4


def test_pairing_is_tighter_than_two_rates(tmp_path: Path) -> None:
    first = [number % 2 == 0 for number in range(100)]
    last = [right or number < 10 for number, right in enumerate(first)]
    paired = evidence(tmp_path, first=first, last=last).paired("first", "last")
    apart = difference(wilson(sum(last), 100), wilson(sum(first), 100))
    assert paired["low"] > 0 > apart["low"]


def test_different_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="different prompts"):
        evidence(tmp_path, first=[True], other=[True]).paired("first", "other")


def test_a_model_without_answers_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no answers of dpo-9"):
        evidence(tmp_path, first=[True]).paired("first", "dpo-9")


def test_wilson_has_a_width_where_all_succeed() -> None:
    found = wilson(4, 4)
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(4 / (4 + 1.96**2))
    assert wilson(50, 100)["low"] == pytest.approx(0.4038, abs=1e-4)
