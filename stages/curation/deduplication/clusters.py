"""Clusters of documents that are near-duplicates of each other, and which documents of each stay (paper 3.1.1).

A cluster may be a chain, whose ends are not similar. Where its best document stays, those that are similar to it go; of
the rest again the best stays, and so on: nothing goes without a document similar to it that stays.
"""

from array import array
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.curation.deduplication.catalog import Table

COLUMNS = ("id", "url", "date", "planted_from")
"""What the report says of a member, besides its cluster and whether it stays."""

CHUNK = 1 << 16
"""Pairs that are Python objects at a time."""


class Clusters(NamedTuple):
    """The documents that are in a cluster of two and more."""

    numbers: np.ndarray
    """Ascending."""
    roots: np.ndarray
    """The smallest number of the cluster of each."""

    @property
    def joins(self) -> np.ndarray:
        """[documents - clusters, 2]: as few pairs as make these clusters."""
        return np.stack([self.roots, self.numbers], axis=1)[self.roots != self.numbers]

    def same(self, pairs: np.ndarray) -> np.ndarray:
        """[pairs] bool: whether two numbers are in one cluster; pairs: [pairs, 2]."""
        places = np.searchsorted(self.numbers, pairs)
        places[places == len(self.numbers)] = 0
        if not len(self.numbers):
            return np.zeros(len(pairs), bool)
        there = (self.numbers[places] == pairs).all(axis=1)
        return there & (self.roots[places[:, 0]] == self.roots[places[:, 1]])


def join(pairs: np.ndarray) -> Clusters:
    """Union-find; pairs: [pairs, 2] numbers of documents, first < second. Takes 24 bytes per document."""
    numbers, places = np.unique(pairs, return_inverse=True)
    parent = array("q", range(len(numbers)))

    def find(place: int) -> int:
        while (above := parent[place]) != place:
            parent[place] = place = parent[above]
        return place

    for start in range(0, len(pairs), CHUNK):
        for first, second in places.reshape(-1, 2)[start : start + CHUNK].tolist():
            low, high = sorted((find(first), find(second)))
            parent[high] = low
    return Clusters(numbers, numbers[[find(place) for place in range(len(numbers))]])


def rank(catalog: Table, clusters: Clusters) -> pa.Table:
    """number, root, id and COLUMNS of the members, cluster by cluster: the newest, then longest, then last by id
    first."""
    table = catalog.rows_of(clusters.numbers, [*COLUMNS, "length"])
    table = table.append_column("number", pa.array(clusters.numbers)).append_column("root", pa.array(clusters.roots))
    keys = [("root", "ascending"), ("date", "descending"), ("length", "descending"), ("id", "descending")]
    return table.take(pc.sort_indices(table.select([name for name, _ in keys]), sort_keys=keys)).drop(["length"])


def best(ranked: pa.Table) -> np.ndarray:
    """[losers, 2] numbers: a document that goes, and the best of its cluster, which stays; by the number that goes."""
    roots, numbers = ranked["root"].to_numpy(), ranked["number"].to_numpy()
    first = np.append(np.ones(min(1, len(roots)), bool), roots[1:] != roots[:-1])
    stays = np.maximum.accumulate(np.where(first, np.arange(len(roots)), 0))
    return _by_loser(np.stack([numbers, numbers[stays]], axis=1)[~first])


def similar(ranked: pa.Table, pairs: np.ndarray) -> np.ndarray:
    """`best`, but a document goes only where it is similar to the one that stays: from the best to the last each that
    has not gone stays, and those similar to it go. pairs: [pairs, 2] numbers of similar documents."""
    near: dict[int, list[int]] = {}
    for first, second in pairs.tolist():
        near.setdefault(first, []).append(second)
        near.setdefault(second, []).append(first)
    goes: dict[int, int] = {}
    for number in ranked["number"].to_pylist():
        if number not in goes:
            goes |= {other: number for other in near.get(number, []) if other not in goes}
    return _by_loser(np.array([*goes.items()], np.int64).reshape(-1, 2))


def members(ranked: pa.Table, losing: np.ndarray) -> pa.Table:
    """cluster (id of the document that stays), kept and COLUMNS of who goes and who stays in their places; sorted by
    cluster and id."""
    numbers = ranked["number"].to_numpy()
    order = np.argsort(numbers)
    stays = numbers.copy()
    stays[order[np.searchsorted(numbers[order], losing[:, 0])]] = losing[:, 1]
    kept = stays == numbers
    place = order[np.searchsorted(numbers[order], stays)]
    table = ranked.select(COLUMNS).add_column(0, "kept", pa.array(kept))
    table = table.add_column(0, "cluster", ranked["id"].take(pa.array(place)))
    table = table.filter(pa.array(~kept | np.isin(numbers, losing[:, 1])))
    return table.sort_by([("cluster", "ascending"), ("id", "ascending")])


def _by_loser(pairs: np.ndarray) -> np.ndarray:
    return pairs[np.argsort(pairs[:, 0])]
