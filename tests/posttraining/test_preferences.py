"""Preference data: levels, editing, and which answers are compared."""

from pathlib import Path

import pytest

from stages.posttraining import preferences
from stages.posttraining.data import Preference, read_records
from stages.posttraining.preferences import compare
from stages.tasks import HELPFUL_TASKS
from tests.fixtures import World
from tests.posttraining.examples import EXAMPLE, SAMPLING, patch_responses, prompt_files
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("best", "worst", "strength"),
    [(1.0, 0.0, 4), (1.0, 0.2, 4), (1.0, 0.25, 3), (1.0, 0.5, 2), (1.0, 0.6, 2), (1.0, 0.75, 1), (1.0, 0.9, 1)],
)
def test_strength_has_four_levels(best: float, worst: float, strength: int) -> None:
    found = compare(EXAMPLE, ["so-so", "good", "bad"], [(best + worst) / 2, best, worst], 2)
    assert found == Preference(EXAMPLE, "good", "bad", None, strength, 2)


def test_wrong_best_response_is_edited() -> None:
    found = compare(EXAMPLE, ["bad", "better"], [0.1, 0.4], 1)
    assert found == Preference(EXAMPLE, "better", "bad", "3", 4, 1)


def test_equally_wrong_responses_lose_to_the_reference_answer() -> None:
    assert compare(EXAMPLE, ["x", "y"], [0.1, 0.1], 1) == Preference(EXAMPLE, "3", "x", None, 4, 1)
    assert compare(EXAMPLE, ["3", "3."], [1.0, 1.0], 1) is None
    assert compare(EXAMPLE, ["", "3"], [0.0, 1.0], 1) is None


def test_best_response_is_preferred_to_the_worst(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_responses(monkeypatch, ["zzz zzz", None, "zzz zzz"])
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model, "earlier": tmp_path}
    config = preferences.Config(1, SAMPLING, preferences.PreferenceSampling(temperature=1.0, answers=3))
    (tmp_path / "preferences").mkdir()
    metrics = preferences.run(config, inputs, {"preferences": tmp_path / "preferences"}, Recorder(tmp_path, round="1"))
    rows = read_records(tmp_path / "preferences" / "preferences.jsonl", Preference)
    assert len(rows) == metrics["preferences"] == metrics["prompts"] == 2 * len(HELPFUL_TASKS)
    assert all((row.chosen, row.rejected, row.edited) == (row.example.answer, "zzz zzz", None) for row in rows)
    assert sum(metrics["by_strength"].values()) == len(rows) and metrics["edited"] == 0
    # The next round adds its preferences to the earlier ones.
    more = {**inputs, "earlier": tmp_path / "preferences"}
    (tmp_path / "more").mkdir()
    metrics = preferences.run(config, more, {"preferences": tmp_path / "more"}, Recorder(tmp_path, round="1"))
    assert metrics["all_rounds"] == 2 * len(rows)
    assert read_records(tmp_path / "more" / "all.jsonl", Preference) == rows * 2
