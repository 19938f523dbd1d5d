"""Finds lines that many documents of a bucket share: boilerplate; code is exempt (paper 3.1.1, line-level
de-duplication)."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import xxhash
from pydantic import Field

from stages.curation import documents, lines
from stages.curation.deduplication import catalog, minhash
from stages.curation.deduplication.catalog import Table
from stages.interface import Context, Section


class Lines(Section):
    """Line-level de-duplication (3.1.1)."""

    most: Annotated[int, Field(ge=1)]
    """Lines with more occurrences in a bucket are removed (paper: 6)."""

    bucket_documents: Annotated[int, Field(ge=1)]
    """Documents per bucket; a hash of the id selects a document's bucket (paper: 30 million)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters after the removal of lines are dropped (assumption)."""


class Shard(NamedTuple):
    """One document file whose lines are hashed."""

    number: int
    source: Path
    removed: Table
    """Rows that are already removed."""
    num_buckets: int


class Part(NamedTuple):
    """A range of line keys, and the output file for repeated ones."""

    keys: Table
    part: int
    num_parts: int
    max_occurrences: int
    output: Path


class RepeatedLines(NamedTuple):
    """The keys of the lines that occur too often in their bucket."""

    keys: Table
    """Keys of all lines, sorted within a shard."""
    parts: list[Path]
    num_distinct: int

    def keys_in(self, shard: int) -> set[int]:
        """The repeated keys that occur in a shard."""
        shard_keys = minhash.distinct([self.keys.read_shard(shard, ["key"])["key"].to_numpy()])
        repeated: set[int] = set()
        for path in self.parts:
            repeated |= set(np.intersect1d(shard_keys, np.load(path), assume_unique=True).tolist())
        return repeated


def find_repeated_lines(
    files: list[Path], removed: Table, num_buckets: int, options: Lines, memory_mb: int, context: Context
) -> RepeatedLines:
    """Finds the lines that occur too often in their bucket. `removed`: removed rows of each file."""
    scratch = removed.directory
    work = [Shard(n, file, removed, num_buckets) for n, file in enumerate(files)]
    keys = Table(scratch, "lines", tuple(context.map("lines", write_keys, work, kind="process")))
    num_parts = catalog.num_parts(keys.num_rows, memory_mb)
    ranges = [Part(keys, n, num_parts, options.most, scratch / f"repeated-{n:05d}.npy") for n in range(num_parts)]
    num_distinct = sum(context.map("repeated lines", write_repeated, ranges, kind="process"))
    return RepeatedLines(keys, [part.output for part in ranges], num_distinct)


def num_buckets(num_documents: int, options: Lines) -> int:
    """Number of buckets."""
    return max(1, -(-num_documents // options.bucket_documents))


def bucket_of(id: str, num_buckets: int) -> int:
    """The bucket of a document."""
    return xxhash.xxh64_intdigest(id.encode()) * num_buckets >> 64


def write_keys(work: Shard) -> int:
    """Writes the sorted keys of one file's lines, and returns their number."""
    removed, first_row = set(work.removed.read_shard(work.number, ["row"])["row"].to_pylist()), 0
    collected = [np.empty(0, np.uint64)]
    for batch in documents.read_batches(work.source, ["id", "text", "code"]):
        keys = [
            lines.line_key(line, bucket_of(document["id"], work.num_buckets))
            for row, document in enumerate(batch.to_pylist(), first_row)
            if row not in removed
            for line in lines.prose_lines(document)
        ]
        collected.append(np.array(keys, np.uint64))
        first_row += batch.num_rows
    ordered = np.sort(np.concatenate(collected))
    catalog.write_shard(work.removed.directory, "lines", work.number, {"key": ordered})
    return len(ordered)


def write_repeated(work: Part) -> int:
    """Writes the sorted keys of a range that occur too often, and returns their number."""
    _, keys = work.keys.keys_in_range("key", work.part, work.num_parts)
    keys.sort()
    # A key that equals the key `max_occurrences` positions later occurs more often than that.
    later = keys[work.max_occurrences :]
    repeated = minhash.distinct([later[later == keys[: -work.max_occurrences]]])
    np.save(work.output, repeated)
    return len(repeated)
