"""The exact similarity of pairs of documents: their shingle sets lie in one file per shard, of which a task reads the
two sets it compares and no more (paper 3.1.1, de-duplication)."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from stages.curation import documents
from stages.curation.deduplication import minhash, shingles
from stages.curation.deduplication.catalog import Table

PAIRS = 20_000
"""Pairs compared by one task, about."""


class Sets(NamedTuple):
    """The shingle sets to write of one shard: of those documents that are in one of the pairs."""

    source: Path
    shard: int
    catalog: Table
    pairs: list[Path]
    shingle: int


class Pairs(NamedTuple):
    """A file of pairs to compare."""

    source: Path
    catalog: Table
    threshold: float


def save(path: Path, pairs: np.ndarray) -> Path:
    """Writes [pairs, 2] numbers, and beside them which numbers these are, ascending."""
    np.save(path, pairs)
    np.save(path.with_suffix(".numbers.npy"), minhash.distinct([pairs.ravel()]))
    return path


def write_sets(work: Sets) -> None:
    """Writes the sets one after the other, and where each begins."""
    edges = work.catalog.starts[work.shard : work.shard + 2]
    mine = [np.empty(0, np.int64)]
    for path in work.pairs:
        numbers = np.load(path.with_suffix(".numbers.npy"), mmap_mode="r")
        mine.append(numbers[slice(*np.searchsorted(numbers, edges))])
    rows = minhash.distinct(mine) - edges[0]
    ends, room = np.zeros(len(rows) + 1, np.int64), 0
    with place(work.catalog, work.shard).open("wb") as file:
        number = 0
        for texts in _texts(work.source, rows):
            for values in shingles.cut(texts, work.shingle).sets():
                file.write(values.tobytes())
                room += len(values)
                number += 1
                ends[number] = room
    np.save(place(work.catalog, work.shard).with_suffix(".rows.npy"), rows)
    np.save(place(work.catalog, work.shard).with_suffix(".starts.npy"), ends)


def compare(work: Pairs) -> np.ndarray:
    """[pairs] bool: whether the exact Jaccard similarity of each pair reaches the threshold."""
    pairs, numbers = np.load(work.source), np.load(work.source.with_suffix(".numbers.npy"))
    starts = np.array(work.catalog.starts)
    shards = np.searchsorted(starts, numbers, side="right") - 1
    spans = np.empty((len(numbers), 2), np.int64)
    for shard in np.unique(shards).tolist():
        here = shards == shard
        rows = np.load(place(work.catalog, shard).with_suffix(".rows.npy"), mmap_mode="r")
        edges = np.load(place(work.catalog, shard).with_suffix(".starts.npy"), mmap_mode="r")
        places = np.searchsorted(rows, numbers[here] - starts[shard])
        spans[here] = np.stack([edges[places], edges[places + 1]], axis=1)
    index = {
        number: (int(shard), *span)
        for number, shard, span in zip(numbers.tolist(), shards, (spans * 8).tolist(), strict=True)
    }

    with ExitStack() as stack:
        files = {n: stack.enter_context(place(work.catalog, n).open("rb", 0)) for n in np.unique(shards).tolist()}

        @lru_cache(2)  # pairs of one document stand together
        def of(number: int) -> np.ndarray:
            shard, first, last = index[number]
            return np.frombuffer(os.pread(files[shard].fileno(), last - first, first), np.uint64)

        return np.array([jaccard(of(a), of(b)) >= work.threshold for a, b in pairs.tolist()], bool)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared shingles by all shingles of two documents' shingle sets."""
    shared = _shared(first, second)
    return shared / (len(first) + len(second) - shared)


@njit(cache=True)
def _shared(first: np.ndarray, second: np.ndarray) -> int:  # pragma: no cover
    """How many values two sorted arrays of distinct ones have in common."""
    shared = a = b = 0
    while a < len(first) and b < len(second):
        shared += first[a] == second[b]
        step = first[a] <= second[b]
        b += first[a] >= second[b]
        a += step
    return shared


def place(catalog: Table, shard: int) -> Path:
    """The file of a shard's shingle sets."""
    return catalog.directory / f"sets-{shard:05d}.bin"


def _texts(source: Path, rows: np.ndarray) -> Iterator[list[str]]:
    first = 0
    for batch in documents.read_batches(source, ["text"]) if len(rows) else ():
        here = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
        yield batch["text"].take(here).to_pylist()
        first += batch.num_rows
