"""Clusters of documents that are near-duplicates of each other, and which document of each stays (paper 3.1.1)."""

from array import array
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.curation.catalog import Table

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


class Choice(NamedTuple):
    """What becomes of the members of the clusters."""

    members: pa.Table
    """cluster (id of the document that stays), kept and COLUMNS; sorted by cluster and id."""
    losing: np.ndarray
    """[losers, 2] numbers: a document that goes, and the one that stays in its place; by the number that goes."""


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


def choose(catalog: Table, clusters: Clusters) -> Choice:
    """The newest, then longest, then last by id of each cluster stays."""
    table = catalog.rows_of(clusters.numbers, [*COLUMNS, "length"])
    table = table.append_column("number", pa.array(clusters.numbers)).append_column("root", pa.array(clusters.roots))
    best_last = [("root", "ascending"), ("date", "ascending"), ("length", "ascending"), ("id", "ascending")]
    table = table.take(pc.sort_indices(table.select([name for name, _ in best_last]), sort_keys=best_last))
    roots, numbers = table["root"].to_numpy(), table["number"].to_numpy()
    kept = np.append(roots[1:] != roots[:-1], np.ones(min(1, len(roots)), bool))
    stays = np.flatnonzero(kept)[np.cumsum(kept) - kept]  # the place of the best of each one's cluster
    members = table.select(COLUMNS).add_column(0, "kept", pa.array(kept))
    members = members.add_column(0, "cluster", table["id"].take(pa.array(stays)))
    members = members.sort_by([("cluster", "ascending"), ("id", "ascending")])
    losing = np.stack([numbers, numbers[stays]], axis=1)[~kept]
    return Choice(members, losing[np.argsort(losing[:, 0])])
