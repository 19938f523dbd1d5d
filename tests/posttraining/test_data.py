"""Post-training's data files."""

from pathlib import Path

import pytest

from stages.interface import StageError
from stages.posttraining.data import Demonstration, Preference, read_records, write_records
from stages.posttraining.preferences import select_strong
from tests.fixtures import examples
from tests.posttraining.examples import EXAMPLE


def test_only_strong_preferences_are_trained_on() -> None:
    rows = [Preference(EXAMPLE, "a", "b", None, strength, 1) for strength in (1, 2, 3, 4)]
    assert [row.strength for row in select_strong(rows)] == [3, 4]


def test_records_round_trip_through_their_file(tmp_path: Path) -> None:
    rows = [Demonstration(example, "é\n\u2028\x85", "annotator") for example in examples(3)]
    write_records(tmp_path / "rows.jsonl", rows)
    assert read_records(tmp_path / "rows.jsonl", Demonstration) == rows
    with pytest.raises(StageError, match="dvc repro"):
        read_records(tmp_path / "none.jsonl", Demonstration)
