"""Rates of the models before and after safety tuning, with intervals by cluster."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from stages import statistics

Interval = dict[str, float]
Clusters = Sequence[Hashable]
"""The cluster of each prompt: prompts of one cluster differ in their phrasing only."""


def rate(hits: Sequence[bool], clusters: Clusters) -> Interval | None:
    """The share of hits with its interval; None without any prompt."""
    return statistics.clustered_proportion(hits, clusters) if len(hits) else None


def paired_change(
    before: Sequence[float], after: Sequence[float], clusters: Clusters, largest: float = 1.0
) -> Interval:
    """The mean of after - before on the same prompts, with the interval of the paired differences.

    `largest` is the largest possible difference. If all differences are equal, the interval has the width of Wilson's
    for a share of the clusters that was never seen.
    """
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    change = statistics.clustered_mean(differences, clusters)
    if change["low"] == change["high"]:
        half = largest * (1.0 - statistics.wilson(change["clusters"], change["clusters"])["low"])
        change |= {"low": change["value"] - half, "high": change["value"] + half}
    return change | {"low": max(-largest, change["low"]), "high": min(largest, change["high"])}


def compare(hits: Mapping[str, Sequence[bool]], clusters: Clusters) -> dict[str, Any]:
    """The rate of each model, and the change from "before" to "after"."""
    rates = {model: rate(of_model, clusters) for model, of_model in hits.items()}
    return {**rates, "change": paired_change(hits["before"], hits["after"], clusters)}


def compare_by_group(hits: Mapping[str, Sequence[bool]], groups: Sequence[str], clusters: Clusters) -> dict[str, Any]:
    """`compare` within each group; `groups` holds the group of each prompt."""
    indices = {group: [i for i, name in enumerate(groups) if name == group] for group in sorted(set(groups))}
    return {
        group: compare(
            {model: [of_model[i] for i in members] for model, of_model in hits.items()}, [clusters[i] for i in members]
        )
        for group, members in indices.items()
    }
