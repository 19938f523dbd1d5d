"""Rates of the models before and after safety tuning, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages import statistics

Interval = dict[str, float]


def rate(hits: Sequence[bool]) -> Interval | None:
    """The share of hits with its interval; None without any prompt."""
    return statistics.proportion(sum(hits), len(hits)) if hits else None


def paired_change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """The mean of after - before on the same prompts, with the interval of the paired differences."""
    return statistics.mean(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def compare(hits: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """The rate of each model, and the change from "before" to "after"."""
    rates = {model: rate(of_model) for model, of_model in hits.items()}
    return {**rates, "change": paired_change(hits["before"], hits["after"])}


def compare_by_group(hits: Mapping[str, Sequence[bool]], groups: Sequence[str]) -> dict[str, Any]:
    """`compare` within each group; `groups` holds the group of each prompt."""
    indices = {group: [i for i, name in enumerate(groups) if name == group] for group in sorted(set(groups))}
    return {
        group: compare({model: [of_model[i] for i in members] for model, of_model in hits.items()})
        for group, members in indices.items()
    }
