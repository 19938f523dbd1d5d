"""Rejection sampling keeps the best right answers and counts the rest."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.posttraining import rejection
from stages.posttraining.data import Demonstration, read_records
from stages.posttraining.pruning import Pruning
from stages.posttraining.rejection import drop_duplicates, select_best
from stages.tasks import HELPFUL_TASKS
from stages.tasks.example import Example
from tests.fixtures import World, settings
from tests.posttraining.examples import EXAMPLE, SAMPLING, patch_responses, prompt_files
from tests.recorder import Recorder


def test_highest_reward_is_selected_among_verified_responses() -> None:
    items = [EXAMPLE, EXAMPLE, EXAMPLE, Example("howto", "easy", "p", "a", {})]
    rewards = np.array([[3.0, 2.0, 1.0], [1.0, -5.0, -4.0], [1.0, 2.0, 3.0], [1.0, 5.0, 2.0]])
    is_right = np.array([[False, True, True], [False, True, True], [False] * 3, [False] * 3])
    assert select_best(items, rewards, is_right, ["arithmetic"]) == [(0, 1), (1, 2), (3, 1)]
    assert select_best(items, rewards, is_right, []) == [(0, 0), (1, 0), (2, 2), (3, 1)]
    assert select_best(items, rewards, is_right, ["arithmetic", "howto"]) == [(0, 1), (1, 2)]


def test_first_of_equal_demonstrations_stays() -> None:
    gold, sampled = Demonstration(EXAMPLE, "3", "annotator"), Demonstration(EXAMPLE, "3", "rejection sampling")
    other = Demonstration(EXAMPLE, "3.", "rejection sampling")
    assert drop_duplicates([gold, other, sampled, gold]) == [gold, other]


@pytest.mark.parametrize("answers", [["zzz zzz", None], ["zzz zzz", "zzz zzz"]])
def test_rejection_sampling_keeps_right_responses_and_counts_all(
    answers: list[str | None], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_responses(monkeypatch, answers)
    monkeypatch.setattr(rejection, "VERIFIED_TASKS", HELPFUL_TASKS)
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model, "reward": world.model}
    section = rejection.Rejection(answers=2, temperature=1.0, vote_temperature=1.0, apologies=0.0)
    config = rejection.Config(1, settings(), SAMPLING, section, Pruning(quality_quantile=0.0, similarity=1.0))
    (tmp_path / "made").mkdir()
    metrics = rejection.run(config, inputs, {"demonstrations": tmp_path / "made"}, Recorder(tmp_path, round="1"))
    asked = 2 * len(HELPFUL_TASKS)
    rows = read_records(tmp_path / "made" / "demonstrations.jsonl", Demonstration)
    sampled = [row for row in rows if row.source == "rejection sampling"]
    right = asked if None in answers else 0
    assert metrics["chosen"] == right
    assert metrics["kept"] + sum(metrics["removed"].values()) == right
    assert len(sampled) == metrics["kept"] and len(rows) == metrics["demonstrations"]
    # Cleaning may remove a full stop, never the answer.
    assert all(row.response.rstrip(".") in row.example.answer for row in sampled)
    assert metrics["tone_before"]["exclamation"] + metrics["tone_before"]["emoji"] > 0
    assert metrics["tone_after"] == {"emoji": 0, "exclamation": 0, "apology": 0}
    assert metrics["gold"] + len(sampled) == len(rows) and metrics["sampled_share"] == len(sampled) / len(rows)
    assert len({(row.example.prompt, row.response) for row in rows}) == len(rows)
    answers_table = pq.read_table(tmp_path / "made" / "answers.parquet").to_pydict()
    assert len(answers_table["response"]) == 2 * asked and sum(answers_table["is_right"]) == right
    accuracy = {
        each["method"]: each["accuracy"] for each in metrics["selection"] if (each["task"], each["k"]) == ("all", 2)
    }
    assert accuracy["verifier"]["value"] == right / asked and accuracy["one_answer"]["value"] == right / asked / 2
    removed = read_records(tmp_path / "made" / "removed.jsonl", Demonstration)
    assert len(removed) == right - metrics["kept"]
