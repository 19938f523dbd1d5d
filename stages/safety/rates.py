"""Rates of the models before and after safety tuning, with intervals by cluster."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from stages import statistics

Interval = dict[str, float]
Clusters = Sequence[Hashable]
"""The cluster of each prompt: prompts of one cluster differ in their phrasing only."""


def rate(hits: Sequence[bool], clusters: Clusters) -> Interval | None:
    """The share of hits with its interval; None without any prompt."""
    return statistics.clustered_proportion(hits, clusters) if len(hits) else None


def compare(hits: Mapping[str, Sequence[bool]], clusters: Clusters) -> dict[str, Any]:
    """The rate of each model, and the change from "before" to "after"."""
    rates = {model: rate(of_model, clusters) for model, of_model in hits.items()}
    return {**rates, "change": statistics.paired_difference(hits["before"], hits["after"], clusters)}


def compare_by_group(hits: Mapping[str, Sequence[bool]], groups: Sequence[str], clusters: Clusters) -> dict[str, Any]:
    """`compare` within each group; `groups` holds the group of each prompt."""
    indices = {group: [i for i, name in enumerate(groups) if name == group] for group in sorted(set(groups))}
    return {
        group: compare(
            {model: [of_model[i] for i in members] for model, of_model in hits.items()}, [clusters[i] for i in members]
        )
        for group, members in indices.items()
    }
