"""Tables of document metadata for de-duplication, one file per shard, read by column: a task holds a column or a
range of its values, not the corpus (paper 3.1.1, de-duplication)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BYTES_PER_VALUE = 40
"""Memory per value during a sort: value, document number, order, and a copy of each."""


@dataclass(frozen=True)
class Table:
    """Columns of all shards, stored as <name>-<shard>.parquet. A document's number is its row, counted over shards."""

    directory: Path
    name: str
    counts: tuple[int, ...]
    """Rows of each shard."""

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(self.counts)

    @property
    def starts(self) -> list[int]:
        """Number of the first row of each shard, and the total number of rows."""
        return [0, *np.cumsum(self.counts).tolist()]

    def read_shard(self, shard: int, columns: Sequence[str]) -> pa.Table:
        """Reads columns of one shard."""
        return pq.read_table(self.directory / file_name(self.name, shard), columns=list(columns))

    def read_rows(self, numbers: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Reads columns of the rows with these ascending numbers."""
        parts = [self.read_shard(0, columns).slice(0, 0)]
        for shard, (start, stop) in enumerate(self._ranges_by_shard(numbers)):
            if stop > start:
                parts.append(self.read_shard(shard, columns).take(pa.array(numbers[start:stop] - self.starts[shard])))
        return pa.concat_tables(parts)

    def rows_by_shard(self, numbers: np.ndarray) -> list[np.ndarray]:
        """The rows within each shard of these ascending numbers."""
        return [
            numbers[start:stop] - self.starts[shard]
            for shard, (start, stop) in enumerate(self._ranges_by_shard(numbers))
        ]

    def keys_in_range(
        self, column: str, part: int, num_parts: int, removed: "Table | None" = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ascending numbers and keys of the rows whose uint64 key is in one part of the range of keys, without the
        `removed` rows."""
        numbers, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        low = np.uint64((part << 64) // num_parts)
        high = np.uint64(((part + 1 << 64) // num_parts) - 1)
        for shard, start in enumerate(self.starts[:-1]):
            values = self.read_shard(shard, [column])[column].to_numpy()
            selected = self.remaining_rows(shard, np.flatnonzero((values >= low) & (values <= high)), removed)
            numbers.append(selected + start)
            keys.append(values[selected])
        return np.concatenate(numbers), np.concatenate(keys)

    @staticmethod
    def remaining_rows(shard: int, rows: np.ndarray, removed: "Table | None") -> np.ndarray:
        """The given ascending rows of a shard without those in the table of removed rows."""
        if not removed or not removed.counts[shard]:
            return rows
        return np.setdiff1d(rows, removed.read_shard(shard, ["row"])["row"].to_numpy(), assume_unique=True)

    def _ranges_by_shard(self, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
        yield from pairwise(np.searchsorted(numbers, self.starts).tolist())


def write_shard(directory: Path, name: str, shard: int, columns: dict[str, object]) -> None:
    """Writes one shard of a table."""
    pq.write_table(pa.table(columns), directory / file_name(name, shard), compression="lz4")


def write_row_table(directory: Path, name: str, rows: Sequence[np.ndarray]) -> Table:
    """Writes a table of row numbers of each shard."""
    for shard, selected in enumerate(rows):
        write_shard(directory, name, shard, {"row": selected})
    return Table(directory, name, tuple(map(len, rows)))


def file_name(name: str, shard: int) -> str:
    """File name of one shard of a table."""
    return f"{name}-{shard:05d}.parquet"


def num_parts(num_rows: int, memory_mb: int) -> int:
    """Number of ranges of keys such that a sort of one range fits into the memory."""
    return max(1, -(-num_rows * BYTES_PER_VALUE // (memory_mb * 1_000_000)))
