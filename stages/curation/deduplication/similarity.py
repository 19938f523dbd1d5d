"""Exact similarity of pairs of documents. Shingle sets are stored in one file per shard; a task reads only the two sets
that it compares (paper 3.1.1, de-duplication)."""

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

PAIRS_PER_TASK = 20_000
"""Approximate number of pairs that one task compares."""


class ShingleSets(NamedTuple):
    """The shingle sets of one shard to write: of the documents that are in a pair."""

    source: Path
    shard: int
    catalog: Table
    pairs: list[Path]
    shingle: int


class Comparison(NamedTuple):
    """A file of pairs to compare."""

    source: Path
    catalog: Table
    threshold: float


def save_pairs(path: Path, pairs: np.ndarray) -> Path:
    """Writes [pairs, 2] numbers, and a second file of the distinct numbers, ascending."""
    np.save(path, pairs)
    np.save(path.with_suffix(".numbers.npy"), minhash.distinct([pairs.ravel()]))
    return path


def write_sets(work: ShingleSets) -> None:
    """Writes the sets one after the other, and the start of each."""
    edges = work.catalog.starts[work.shard : work.shard + 2]
    numbers_in_shard = [np.empty(0, np.int64)]
    for path in work.pairs:
        numbers = np.load(path.with_suffix(".numbers.npy"), mmap_mode="r")
        numbers_in_shard.append(numbers[slice(*np.searchsorted(numbers, edges))])
    rows = minhash.distinct(numbers_in_shard) - edges[0]
    starts, num_values = np.zeros(len(rows) + 1, np.int64), 0
    with sets_path(work.catalog, work.shard).open("wb") as file:
        number = 0
        for texts in _texts(work.source, rows):
            for values in shingles.make_shingles(texts, work.shingle).sets():
                file.write(values.tobytes())
                num_values += len(values)
                number += 1
                starts[number] = num_values
    np.save(sets_path(work.catalog, work.shard).with_suffix(".rows.npy"), rows)
    np.save(sets_path(work.catalog, work.shard).with_suffix(".starts.npy"), starts)


def compare(work: Comparison) -> np.ndarray:
    """[pairs] bool: whether the exact Jaccard similarity of each pair reaches the threshold."""
    pairs, numbers = np.load(work.source), np.load(work.source.with_suffix(".numbers.npy"))
    starts = np.array(work.catalog.starts)
    shards = np.searchsorted(starts, numbers, side="right") - 1
    spans = np.empty((len(numbers), 2), np.int64)
    for shard in np.unique(shards).tolist():
        in_shard = shards == shard
        rows = np.load(sets_path(work.catalog, shard).with_suffix(".rows.npy"), mmap_mode="r")
        edges = np.load(sets_path(work.catalog, shard).with_suffix(".starts.npy"), mmap_mode="r")
        positions = np.searchsorted(rows, numbers[in_shard] - starts[shard])
        spans[in_shard] = np.stack([edges[positions], edges[positions + 1]], axis=1)
    index = {
        number: (int(shard), *span)
        for number, shard, span in zip(numbers.tolist(), shards, (spans * 8).tolist(), strict=True)
    }

    with ExitStack() as stack:
        files = {n: stack.enter_context(sets_path(work.catalog, n).open("rb", 0)) for n in np.unique(shards).tolist()}

        @lru_cache(2)  # pairs of one document are adjacent
        def read_set(number: int) -> np.ndarray:
            shard, first, last = index[number]
            return np.frombuffer(os.pread(files[shard].fileno(), last - first, first), np.uint64)

        return np.array([jaccard(read_set(a), read_set(b)) >= work.threshold for a, b in pairs.tolist()], bool)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Jaccard similarity of two shingle sets."""
    shared = _intersection_size(first, second)
    return shared / (len(first) + len(second) - shared)


@njit(cache=True)
def _intersection_size(first: np.ndarray, second: np.ndarray) -> int:  # pragma: no cover
    """Number of common values of two sorted arrays of distinct values."""
    shared = a = b = 0
    while a < len(first) and b < len(second):
        shared += first[a] == second[b]
        step = first[a] <= second[b]
        b += first[a] >= second[b]
        a += step
    return shared


def sets_path(catalog: Table, shard: int) -> Path:
    """Path of a shard's shingle sets."""
    return catalog.directory / f"sets-{shard:05d}.bin"


def _texts(source: Path, rows: np.ndarray) -> Iterator[list[str]]:
    first_row = 0
    for batch in documents.read_batches(source, ["text"]) if len(rows) else ():
        in_batch = rows[(rows >= first_row) & (rows < first_row + batch.num_rows)] - first_row
        yield batch["text"].take(in_batch).to_pylist()
        first_row += batch.num_rows
