"""Reads the curated documents in a fixed order, and splits them into training and validation."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from stages.interface import Section

Bucket = Literal["general", "math", "code", "multilingual"]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
"""The paper's mix (3.1.2): general knowledge, math and reasoning, code, multilingual."""
TEXT_BATCH = 512
"""Documents whose texts are read at once."""
BUFFER_BYTES = 1 << 20
"""Read buffer per column; without one a shard is read at once."""


class Mix(Section):
    """Shares of the training tokens; they sum to 1."""

    general: float = Field(ge=0, le=1)
    """General knowledge (paper 3.1.2: 0.50)."""
    math: float = Field(ge=0, le=1)
    """Mathematics and reasoning (paper 3.1.2: 0.25)."""
    code: float = Field(ge=0, le=1)
    """Code (paper 3.1.2: 0.17)."""
    multilingual: float = Field(ge=0, le=1)
    """Other languages than English (paper 3.1.2: 0.08)."""

    @model_validator(mode="after")
    def _check_sum(self) -> "Mix":
        total = sum(self.shares().values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        return self

    def shares(self) -> dict[str, float]:
        """Share of each bucket."""
        return {bucket: getattr(self, bucket) for bucket in BUCKETS}


class Document(NamedTuple):
    id: str
    bucket: Bucket
    rank: float
    text: str
    source: str = ""


def read_documents(directory: Path) -> Iterator[Document]:
    """The documents in `directory`, ordered by shard and position."""
    for batch in _read_batches(directory, list(Document._fields), TEXT_BATCH):
        for record in batch.to_pylist():
            yield Document(**record)


def quality_ranks(directory: Path) -> dict[Bucket, "array[float]"]:
    """The quality rank of each document by bucket, 8 bytes each; texts are not read."""
    ranks = {bucket: array("d") for bucket in BUCKETS}
    for batch in _read_batches(directory, ["bucket", "rank"], 1 << 16):
        for bucket, rank in zip(batch["bucket"].to_pylist(), batch["rank"].to_pylist(), strict=True):
            ranks[bucket].append(rank)
    return ranks


def _read_batches(directory: Path, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
    for path in sorted(directory.glob("documents-*.parquet")):
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
            yield from file.iter_batches(columns=columns, batch_size=size)


def is_held_out(document: Document, per_mille: int) -> bool:
    """Whether a document is held out for validation: a function of its id, so a larger corpus holds out the same."""
    return int(document.id[:8], 16) % 1000 < per_mille
