"""The ways to select one of several responses, on worked examples."""

import math

import numpy as np
import pytest

from stages.posttraining.selection import METHODS, auc_within_prompts, measure_selection, selection_accuracy
from stages.tasks.example import Example
from tests.fixtures import examples


def test_methods_on_a_worked_example() -> None:
    """ "a" is right and frequent, "b" has the highest reward, "c" is a third text."""
    texts, is_right = ["a", "a ", "b", "c"], [True, True, False, False]
    found = selection_accuracy(texts, [0.0, 0.0, 1.0, 0.0], is_right, temperature=1.0)
    # Weighted votes: a 2, b e = 2.7, c 1.
    assert found == {
        "one_answer": 0.5,
        "distinct_answer": pytest.approx(1 / 3),
        "majority": 1.0,
        "best_reward": 0.0,
        "weighted_vote": 0.0,
        "verifier": 1.0,
    }
    assert tuple(found) == METHODS
    # At T = 2 b has exp(1/2) = 1.6 votes, less than two.
    assert selection_accuracy(texts, [0.0, 0.0, 1.0, 0.0], is_right, temperature=2.0)["weighted_vote"] == 1.0


def test_ties_count_as_their_mean() -> None:
    found = selection_accuracy(["a", "b"], [1.0, 1.0], [True, False], temperature=1.0)
    assert found == dict.fromkeys(METHODS, 0.5) | {"verifier": 1.0}


def test_extreme_rewards_do_not_overflow() -> None:
    found = selection_accuracy(["a", "b"], [-5000.0, 5000.0], [False, True], temperature=0.1)
    assert found["weighted_vote"] == found["best_reward"] == 1.0


def test_all_methods_see_the_same_groups_of_candidates() -> None:
    items = examples(2)
    texts = [["a", "b", "c", "d"], ["a", "a", "a", "b"]]
    rewards = np.array([[4.0, 3, 2, 1], [1.0, 1, 1, 0]])
    is_right = np.array([[False, True, True, False], [False, False, False, True]])
    records = measure_selection(items, texts, rewards, is_right, 1.0)
    found = {(each["k"], each["method"]): each for each in records if each["task"] == "all"}
    # First prompt: groups (a b) and (c d), the higher reward is wrong, then right; second: none of the first group.
    assert found[2, "best_reward"]["accuracy"]["value"] == pytest.approx((1 / 2 + 0) / 2)
    assert found[2, "verifier"]["accuracy"]["value"] == pytest.approx((1 + 1 / 2) / 2)
    assert found[4, "best_reward"]["minus_one_answer"]["value"] == pytest.approx((-0.5 - 0.25) / 2)
    assert all(found[k, "one_answer"]["accuracy"]["value"] == 0.375 for k in (1, 2, 4))
    assert all(found[1, method]["accuracy"]["value"] == 0.375 for method in METHODS)
    assert (8, "majority") not in found and {each["task"] for each in records} == {"all", "arithmetic"}
    assert found[1, "majority"]["accuracy"]["clusters"] == 2
    # One problem in two phrasings has no interval.
    assert measure_selection([items[0]] * 2, texts, rewards, is_right, 1.0) == []


def test_auc_is_averaged_over_prompts_with_both_kinds() -> None:
    items = [*examples(3), Example("howto", "easy", "p", "a", {})]
    rewards = np.array([[3.0, 1, 2], [1.0, 1, 0], [9.0, 9, 9], [1.0, 2, 3]])
    is_right = np.array([[True, False, False], [True, False, False], [True] * 3, [True, False, False]])
    found = auc_within_prompts(items, rewards, is_right)
    assert found["value"] == pytest.approx((1 + 0.75 + 0) / 3) and found["n"] == 3 and math.isfinite(found["low"])
    assert auc_within_prompts(items[:1], rewards[:1], is_right[:1]) == {}
