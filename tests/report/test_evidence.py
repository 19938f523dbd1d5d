"""Differences on the same prompts, and intervals of rates."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import statistics
from stages.interface import StageError
from stages.report.evidence import Evidence, NotMeasured, subtract


def make_evidence(tmp_path: Path, **models: list[bool]) -> Evidence:
    answers = [
        {
            "model": name,
            "task": "arithmetic",
            "cluster": f"{number}",
            "prompt": f"{number}" if name != "other" else f"x{number}",
            "is_correct": right,
        }
        for name, given in models.items()
        for number, right in enumerate(given)
    ]
    pq.write_table(pa.Table.from_pylist(answers), tmp_path / "answers.parquet")
    return Evidence({"answers": tmp_path}, 1)


def test_paired_difference_by_hand(tmp_path: Path) -> None:
    found = make_evidence(
        tmp_path, first=[True, False, False, False], last=[True, True, True, False]
    ).paired_difference("first", "last")
    # Differences 0, 1, 1, 0: mean 1/2, standard deviation sqrt(1/3), standard error sqrt(1/12).
    assert found["value"] == 0.5
    assert found["value"] - found["low"] == pytest.approx(statistics.student_t_quantile(3) * (1 / 12) ** 0.5)
    assert found["n"] == found["clusters"] == 4


def test_pairing_is_tighter_than_two_rates(tmp_path: Path) -> None:
    first = [number % 2 == 0 for number in range(100)]
    last = [right or number < 10 for number, right in enumerate(first)]
    paired = make_evidence(tmp_path, first=first, last=last).paired_difference("first", "last")
    apart = subtract(statistics.wilson(sum(last), 100), statistics.wilson(sum(first), 100))
    assert paired["low"] > 0 > apart["low"]


def test_paired_difference_needs_equal_prompts(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="different prompts"):
        make_evidence(tmp_path, first=[True], other=[True]).paired_difference("first", "other")


def test_model_without_answers_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="no answers of dpo-9"):
        make_evidence(tmp_path, first=[True]).paired_difference("first", "dpo-9")


def test_clean_accuracy_leaves_out_prompts_of_the_corpus(tmp_path: Path) -> None:
    evidence = make_evidence(tmp_path, chat=[True, False, False, True])
    overlaps = [0.9, 0.1, 0.0, None]
    records = [{"task": "arithmetic", "prompt": f"{n}", "overlap": share} for n, share in enumerate(overlaps)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "contamination.parquet")
    (tmp_path / "decontaminate.json").write_text('{"threshold": 0.5}')
    evidence = Evidence({**evidence.inputs, "contamination": tmp_path, "metrics": tmp_path}, 1)
    found = evidence.clean_accuracy("chat")
    assert found and (found["value"], found["n"]) == (0.0, 2)
    assert evidence.clean_accuracy("base") is None
