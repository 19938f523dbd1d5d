"""Preference data: levels, editing, and which answers are compared."""

from pathlib import Path

import pytest

from stages.posttraining import preferences
from stages.posttraining.data import Preference, read_records
from stages.posttraining.preferences import compare, pair_right_with_wrong
from stages.tasks import HELPFUL_TASKS
from tests.fixtures import World
from tests.posttraining.examples import EXAMPLE, SAMPLING, patch_responses, prompt_files
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("best", "worst", "strength"),
    [(1.0, 0.0, 4), (1.0, 0.2, 4), (1.0, 0.25, 3), (1.0, 0.5, 2), (1.0, 0.6, 2), (1.0, 0.75, 1), (1.0, 0.9, 1)],
)
def test_strength_has_four_levels(best: float, worst: float, strength: int) -> None:
    found = compare(EXAMPLE, ["so-so", "good", "bad"], [(best + worst) / 2, best, worst], 2, can_edit=True)
    assert found == Preference(EXAMPLE, "good", "bad", None, strength, 2)


def test_edited_response_takes_the_place_of_a_wrong_best_one() -> None:
    found = compare(EXAMPLE, ["bad", "better"], [0.1, 0.4], 1, can_edit=True)
    assert found == Preference(EXAMPLE, "better", "bad", "3", 4, 1)
    found = compare(EXAMPLE, ["bad", "better"], [0.1, 0.4], 1, can_edit=False)
    assert found == Preference(EXAMPLE, "better", "bad", None, 2, 1)


def test_equally_good_responses_are_not_ranked() -> None:
    assert compare(EXAMPLE, ["x", "y"], [0.1, 0.1], 1, can_edit=True) == Preference(EXAMPLE, "x", "x", "3", 4, 1)
    assert compare(EXAMPLE, ["x", "y"], [0.1, 0.1], 1, can_edit=False) is None
    assert compare(EXAMPLE, ["3", "3."], [1.0, 1.0], 1, can_edit=True) is None
    assert compare(EXAMPLE, ["", "3"], [0.0, 1.0], 1, can_edit=True) is None
    assert compare(EXAMPLE, ["", ""], [0.0, 0.0], 1, can_edit=True) is None


def test_right_responses_are_paired_with_all_distinct_wrong_ones() -> None:
    found = pair_right_with_wrong(EXAMPLE, ["3", "4", "3.", "4", "", "3", "2"], [1, 0, 1, 0, 0, 1, 0.6], 2)
    assert [(p.chosen, p.rejected, p.edited, p.strength, p.round) for p in found] == [
        ("3", "4", None, 4, 2),
        ("3", "2", None, 2, 2),
        ("3.", "4", None, 4, 2),
        ("3.", "2", None, 2, 2),
    ]
    assert not pair_right_with_wrong(EXAMPLE, ["4", "2"], [0, 0.6], 2)


@pytest.mark.parametrize(("edited", "answers"), [(0.0, [None, "z"]), (0.0, ["z", "y"]), (1.0, ["z", "y"])])
def test_edits_are_their_share_of_the_prompts_without_a_right_response(
    edited: float, answers: list[str | None], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_responses(monkeypatch, answers)
    section = preferences.PreferenceSampling(temperature=1.0, answers=2, pairs=4, edited=edited)
    config = preferences.Config(1, SAMPLING, section)
    (tmp_path / "preferences").mkdir()
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model}
    metrics = preferences.run(config, inputs, {"preferences": tmp_path / "preferences"}, Recorder(tmp_path, round="1"))
    assert metrics["edited_share_of_trained"] == edited and metrics["edited"] == edited * metrics["prompts"]
    assert bool(metrics["trained"]) == (edited == 1 or None in answers)


def test_best_response_is_preferred_to_the_worst(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_responses(monkeypatch, ["zzz zzz", None, "zzz zzz"])
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model, "earlier": tmp_path}
    config = preferences.Config(
        1, SAMPLING, preferences.PreferenceSampling(temperature=1.0, answers=3, pairs=4, edited=0.3)
    )
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
