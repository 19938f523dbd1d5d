"""How often each way to select one of K sampled responses selects a right one: the reward model and its baselines.

All methods see the same candidates: the first K, the next K, and so on, of a prompt's responses. A prompt's value is
the mean over these groups and over ties, so that no method depends on a draw.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from stages import statistics
from stages.tasks.example import Example

METHODS = ("one_answer", "distinct_answer", "majority", "best_reward", "weighted_vote", "verifier")
"""A random response; a random distinct response; the most frequent one; the one with the highest reward; the one with
the highest sum of exp(reward / temperature) over equal responses; any right one."""

CANDIDATES = (1, 2, 4, 8)
"""Values of K that are reported, as far as there are so many responses."""


def selection_accuracy(
    responses: Sequence[str], rewards: Sequence[float], is_right: Sequence[bool], temperature: float
) -> dict[str, float]:
    """The probability that each method selects a right response among these candidates for one prompt.

    Equal responses are equally right: their texts are compared without outer space.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(responses):
        groups[text.strip()].append(index)
    indices, largest = list(groups.values()), max(rewards)
    right = np.array([is_right[group[0]] for group in indices], dtype=float)
    counts = np.array([len(group) for group in indices])
    best = np.array([max(rewards[index] for index in group) for group in indices])
    votes = np.array([sum(np.exp((rewards[index] - largest) / temperature) for index in group) for group in indices])
    return {
        "one_answer": float(np.mean(is_right)),
        "distinct_answer": float(right.mean()),
        "majority": float(right[counts == counts.max()].mean()),
        "best_reward": float(right[best == best.max()].mean()),
        "weighted_vote": float(right[votes == votes.max()].mean()),
        "verifier": float(right.max()),
    }


def measure_selection(
    examples: Sequence[Example],
    responses: Sequence[Sequence[str]],
    rewards: np.ndarray,
    is_right: np.ndarray,
    temperature: float,
) -> list[dict[str, Any]]:
    """Accuracy of each method by task and K, and its paired difference to one random response.

    `rewards` and `is_right` are [prompts, responses]. Intervals are over problems (`Example.cluster`); a task with a
    single problem is left out, because it has no interval.
    """
    num_responses = rewards.shape[1]
    tasks = np.array([example.task for example in examples])
    clusters = [(example.task, example.cluster) for example in examples]
    records = []
    for k in [k for k in CANDIDATES if k <= num_responses]:
        starts = range(0, num_responses - k + 1, k)
        values = [
            [selection_accuracy(texts[s : s + k], r[s : s + k], ok[s : s + k], temperature) for s in starts]
            for texts, r, ok in zip(responses, rewards.tolist(), is_right.tolist(), strict=True)
        ]
        by_method = {m: np.array([np.mean([group[m] for group in groups]) for groups in values]) for m in METHODS}
        for task in ["all", *sorted(set(tasks))]:
            chosen = np.flatnonzero((tasks == task) | (task == "all"))
            problems: list[Hashable] = [clusters[index] for index in chosen]
            if len(set(problems)) < 2:
                continue
            for method in METHODS:
                accuracy, one = by_method[method][chosen], by_method["one_answer"][chosen]
                records.append(
                    {
                        "task": str(task),
                        "k": k,
                        "method": method,
                        "accuracy": statistics.clustered_proportion(accuracy, problems),
                        "minus_one_answer": statistics.paired_difference(one, accuracy, problems),
                    }
                )
    return records


def auc_within_prompts(examples: Sequence[Example], rewards: np.ndarray, is_right: np.ndarray) -> dict[str, float]:
    """The share of a prompt's (right, wrong) response pairs in which the right one has the higher reward, ties half,
    averaged over the prompts with both kinds; 0.5 is chance. Empty without two problems of that kind."""
    values: list[float] = []
    clusters: list[Hashable] = []
    for example, reward, right in zip(examples, rewards, is_right, strict=True):
        if right.any() and not right.all():
            gaps = reward[right][:, None] - reward[~right][None]
            values.append(float(((gaps > 0) + 0.5 * (gaps == 0)).mean()))
            clusters.append((example.task, example.cluster))
    return statistics.clustered_mean(values, clusters) if len(set(clusters)) > 1 else {}
