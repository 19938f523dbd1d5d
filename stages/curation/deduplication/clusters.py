"""Clusters of near-duplicate documents, and the choice of documents to keep (paper 3.1.1).

A cluster may be a chain whose ends are not similar. The best document is kept, and documents similar to it are removed;
this repeats with the rest. So each removed document is similar to a kept one.
"""

from array import array
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.curation.deduplication.catalog import Table

COLUMNS = ("id", "url", "date", "planted_from")
"""Columns of clusters.parquet besides `cluster` and `kept`."""

CHUNK = 1 << 16
"""Pairs converted to Python objects at a time."""


class Clusters(NamedTuple):
    """The documents in clusters of at least two."""

    numbers: np.ndarray
    """Document numbers, ascending."""
    roots: np.ndarray
    """The smallest number in the cluster of each document."""

    @property
    def edges(self) -> np.ndarray:
        """[documents - clusters, 2]: the fewest pairs that form these clusters."""
        return np.stack([self.roots, self.numbers], axis=1)[self.roots != self.numbers]

    def are_together(self, pairs: np.ndarray) -> np.ndarray:
        """[pairs] bool: whether both numbers are in the same cluster; pairs: [pairs, 2]."""
        positions = np.searchsorted(self.numbers, pairs)
        positions[positions == len(self.numbers)] = 0
        if not len(self.numbers):
            return np.zeros(len(pairs), bool)
        are_members = (self.numbers[positions] == pairs).all(axis=1)
        return are_members & (self.roots[positions[:, 0]] == self.roots[positions[:, 1]])


def connected_components(pairs: np.ndarray) -> Clusters:
    """Union-find; pairs: [pairs, 2] numbers of documents, first < second. Takes 24 bytes per document."""
    numbers, positions = np.unique(pairs, return_inverse=True)
    parent = array("q", range(len(numbers)))

    def find(node: int) -> int:
        while (above := parent[node]) != node:
            parent[node] = node = parent[above]
        return node

    for start in range(0, len(pairs), CHUNK):
        for first, second in positions.reshape(-1, 2)[start : start + CHUNK].tolist():
            low, high = sorted((find(first), find(second)))
            parent[high] = low
    return Clusters(numbers, numbers[[find(node) for node in range(len(numbers))]])


def rank_members(catalog: Table, clusters: Clusters) -> pa.Table:
    """number, root and COLUMNS of the members by cluster, ordered by date, length and id, all descending."""
    table = catalog.read_rows(clusters.numbers, [*COLUMNS, "length"])
    table = table.append_column("number", pa.array(clusters.numbers)).append_column("root", pa.array(clusters.roots))
    keys = [("root", "ascending"), ("date", "descending"), ("length", "descending"), ("id", "descending")]
    return table.take(pc.sort_indices(table.select([name for name, _ in keys]), sort_keys=keys)).drop(["length"])


def keep_best(ranked: pa.Table) -> np.ndarray:
    """[removed, 2] numbers of a removed document and of the kept best of its cluster, sorted by the former."""
    roots, numbers = ranked["root"].to_numpy(), ranked["number"].to_numpy()
    is_first = np.append(np.ones(min(1, len(roots)), bool), roots[1:] != roots[:-1])
    kept = np.maximum.accumulate(np.where(is_first, np.arange(len(roots)), 0))
    return _sort_by_removed(np.stack([numbers, numbers[kept]], axis=1)[~is_first])


def keep_dissimilar(ranked: pa.Table, pairs: np.ndarray) -> np.ndarray:
    """As `keep_best`, but removes only documents that are similar to the kept one: from best to last, each document not
    yet removed is kept, and those similar to it are removed. pairs: [pairs, 2] numbers of similar documents."""
    neighbours: dict[int, list[int]] = {}
    for first, second in pairs.tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    kept_for: dict[int, int] = {}
    for number in ranked["number"].to_pylist():
        if number not in kept_for:
            kept_for |= {other: number for other in neighbours.get(number, []) if other not in kept_for}
    return _sort_by_removed(np.array([*kept_for.items()], np.int64).reshape(-1, 2))


def members_table(ranked: pa.Table, removed: np.ndarray) -> pa.Table:
    """cluster (id of the kept document), kept and COLUMNS of removed documents and those kept for them, by cluster and
    id. removed: [removed, 2] as from `keep_best`."""
    numbers = ranked["number"].to_numpy()
    order = np.argsort(numbers)
    kept_for = numbers.copy()
    kept_for[order[np.searchsorted(numbers[order], removed[:, 0])]] = removed[:, 1]
    is_kept = kept_for == numbers
    position = order[np.searchsorted(numbers[order], kept_for)]
    table = ranked.select(COLUMNS).add_column(0, "kept", pa.array(is_kept))
    table = table.add_column(0, "cluster", ranked["id"].take(pa.array(position)))
    table = table.filter(pa.array(~is_kept | np.isin(numbers, removed[:, 1])))
    return table.sort_by([("cluster", "ascending"), ("id", "ascending")])


def _sort_by_removed(pairs: np.ndarray) -> np.ndarray:
    return pairs[np.argsort(pairs[:, 0])]
