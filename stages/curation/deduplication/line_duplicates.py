"""Lines that many documents of a bucket share are boilerplate and go; code stays (paper 3.1.1, line-level
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
    """Repeated lines (3.1.1)."""

    most: Annotated[int, Field(ge=1)]
    """Occurrences in a bucket up to which a line stays (paper: 6)."""

    bucket_documents: Annotated[int, Field(ge=1)]
    """Documents per bucket; a hash of its id says which one a document is in (paper: 30 million)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters after the removal of lines are dropped (assumption)."""


class Shard(NamedTuple):
    """One document file whose lines are hashed into a table."""

    number: int
    source: Path
    gone: Table
    """Rows that are removed already."""
    buckets: int


class Part(NamedTuple):
    """A range of the lines' keys, and the file for those that occur too often."""

    keys: Table
    part: int
    parts: int
    most: int
    output: Path


class Repeated(NamedTuple):
    """The keys of the lines that occur too often in their bucket."""

    keys: Table
    """Of all lines, sorted within a shard."""
    parts: list[Path]
    distinct: int

    def of(self, shard: int) -> set[int]:
        """Those that occur in this shard."""
        mine = minhash.distinct([self.keys.shard(shard, ["key"])["key"].to_numpy()])
        found: set[int] = set()
        for path in self.parts:
            found |= set(np.intersect1d(mine, np.load(path), assume_unique=True).tolist())
        return found


def find(files: list[Path], gone: Table, buckets: int, options: Lines, memory_mb: int, context: Context) -> Repeated:
    """Finds the lines that occur too often in their bucket. `gone`: the removed rows of each file."""
    scratch = gone.directory
    work = [Shard(n, file, gone, buckets) for n, file in enumerate(files)]
    keys = Table(scratch, "lines", tuple(context.map("lines", write_keys, work, kind="process")))
    number = catalog.parts(keys.rows, memory_mb)
    ranges = [Part(keys, n, number, options.most, scratch / f"repeated-{n:05d}.npy") for n in range(number)]
    distinct = sum(context.map("repeated lines", write_repeated, ranges, kind="process"))
    return Repeated(keys, [part.output for part in ranges], distinct)


def buckets(number: int, options: Lines) -> int:
    """Into how many buckets so many documents go."""
    return max(1, -(-number // options.bucket_documents))


def bucket(name: str, number: int) -> int:
    """The bucket of the document with this id."""
    return xxhash.xxh64_intdigest(name.encode()) * number >> 64


def write_keys(work: Shard) -> int:
    """Writes the keys of one file's lines, sorted, and gives their number."""
    gone, first = set(work.gone.shard(work.number, ["row"])["row"].to_pylist()), 0
    found = [np.empty(0, np.uint64)]
    for batch in documents.read_batches(work.source, ["id", "text", "code"]):
        keys = [
            lines.line_key(line, bucket(document["id"], work.buckets))
            for row, document in enumerate(batch.to_pylist(), first)
            if row not in gone
            for line in lines.prose_lines(document)
        ]
        found.append(np.array(keys, np.uint64))
        first += batch.num_rows
    ordered = np.sort(np.concatenate(found))
    catalog.write(work.gone.directory, "lines", work.number, {"key": ordered})
    return len(ordered)


def write_repeated(work: Part) -> int:
    """Writes the keys of a range that occur too often, sorted, and gives their number."""
    _, keys = work.keys.keys("key", work.part, work.parts)
    keys.sort()
    # A key that equals the one `most` places further on occurs more often than that.
    repeated = minhash.distinct([keys[work.most :][keys[work.most :] == keys[: -work.most]]])
    np.save(work.output, repeated)
    return len(repeated)
