"""Lines that many documents of a bucket share are boilerplate and go; code stays (paper 3.1.1, line-level
de-duplication)."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import xxhash
from pydantic import Field

from stages.curation import catalog, documents, lines
from stages.curation.catalog import Table
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
    gone: np.ndarray
    """Rows that are removed already, ascending."""
    buckets: int
    directory: Path


class Part(NamedTuple):
    """A range of the lines' keys."""

    keys: Table
    part: int
    parts: int
    most: int


def find(
    files: list[Path], gone: list[np.ndarray], buckets: int, options: Lines, memory_mb: int, scratch: Path,
    context: Context,
) -> np.ndarray:  # fmt: skip
    """Sorted keys of the lines that occur too often in their bucket. `gone`: the removed rows of each file."""
    work = [Shard(n, file, rows, buckets, scratch) for n, (file, rows) in enumerate(zip(files, gone, strict=True))]
    keys = Table(scratch, "lines", tuple(context.map("lines", write_keys, work, kind="process")))
    number = catalog.parts(keys.rows, memory_mb)
    found = context.map("repeated lines", repeated, [Part(keys, n, number, options.most) for n in range(number)],
                        kind="process")  # fmt: skip
    return np.concatenate(found)


def buckets(number: int, options: Lines) -> int:
    """Into how many buckets so many documents go."""
    return max(1, -(-number // options.bucket_documents))


def bucket(name: str, number: int) -> int:
    """The bucket of the document with this id."""
    return xxhash.xxh64_intdigest(name.encode()) * number >> 64


def write_keys(work: Shard) -> int:
    """Writes the keys of one file's lines, sorted, and gives their number."""
    gone = set(work.gone.tolist())
    found = [
        lines.key(line, bucket(document["id"], work.buckets))
        for row, document in enumerate(documents.read(work.source))
        if row not in gone
        for line in lines.prose(document)
    ]
    catalog.write(work.directory, "lines", work.number, {"key": np.sort(np.array(found, np.uint64))})
    return len(found)


def repeated(work: Part) -> np.ndarray:
    """The keys of a range that occur too often."""
    _, keys = work.keys.keys("key", work.part, work.parts)
    values, counts = np.unique(keys, return_counts=True)
    return values[counts > work.most]
