"""The exact similarity of pairs of documents: their shingle sets lie in one file per shard, of which a task reads the
two sets it compares and no more (paper 3.1.1, de-duplication)."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from stages.curation import documents, minhash
from stages.curation.catalog import Table

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
        for number, text in enumerate(_texts(work.source, rows)):
            values = shingle_set(minhash.shingles(text, work.shingle))
            file.write(values.tobytes())
            room += len(values)
            ends[number + 1] = room
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
        def shingles(number: int) -> np.ndarray:
            shard, first, last = index[number]
            return np.frombuffer(os.pread(files[shard].fileno(), last - first, first), np.uint64)

        return np.array([jaccard(shingles(a), shingles(b)) >= work.threshold for a, b in pairs.tolist()], bool)


def shingle_set(document: list[bytes]) -> np.ndarray:
    """Sorted distinct 64-bit hashes of a document's shingles."""
    return minhash.distinct([np.fromiter(map(xxhash.xxh64_intdigest, document), np.uint64, len(document))])


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared shingles by all shingles of two documents' shingle sets."""
    shared = len(first) + len(second) - len(minhash.distinct([first, second]))
    return shared / (len(first) + len(second) - shared)


def place(catalog: Table, shard: int) -> Path:
    """The file of a shard's shingle sets."""
    return catalog.directory / f"sets-{shard:05d}.bin"


def _texts(source: Path, rows: np.ndarray) -> Iterator[str]:
    first = 0
    for batch in documents.batches(source, ["text"]) if len(rows) else ():
        here = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
        yield from batch["text"].take(here).to_pylist()
        first += batch.num_rows
