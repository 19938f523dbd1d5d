"""What de-duplication knows of each document besides its text: a table per shard, read column by column, so that a
task holds a column or a range of its values and never the corpus (paper 3.1.1, de-duplication)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BYTES = 40
"""Memory that one value takes while values are sorted: itself, its number, the order and a copy of each."""


@dataclass(frozen=True)
class Table:
    """Columns of all shards, kept as <name>-<shard>.parquet. A document's number is its row, counted over shards."""

    directory: Path
    name: str
    counts: tuple[int, ...]
    """Rows of each shard."""

    @property
    def rows(self) -> int:
        """Of all shards."""
        return sum(self.counts)

    @property
    def starts(self) -> list[int]:
        """Number of the first row of each shard, and of the one after the last."""
        return [0, *np.cumsum(self.counts).tolist()]

    def shard(self, shard: int, columns: Sequence[str]) -> pa.Table:
        """Those columns of one shard."""
        return pq.read_table(self.directory / file_name(self.name, shard), columns=list(columns))

    def rows_of(self, numbers: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Those columns of the rows with these numbers, ascending."""
        parts = [self.shard(0, columns).slice(0, 0)]
        for shard, (start, stop) in enumerate(self._edges(numbers)):
            if stop > start:
                parts.append(self.shard(shard, columns).take(pa.array(numbers[start:stop] - self.starts[shard])))
        return pa.concat_tables(parts)

    def split(self, numbers: np.ndarray) -> list[np.ndarray]:
        """For each shard, which of its rows have one of these numbers, ascending."""
        return [numbers[start:stop] - self.starts[shard] for shard, (start, stop) in enumerate(self._edges(numbers))]

    def keys(self, column: str, part: int, parts: int, gone: "Table | None" = None) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the rows whose uint64 key falls into a part of the range of keys, ascending, and their keys;
        without the rows that are `gone`."""
        numbers, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        low = np.uint64((part << 64) // parts)
        high = np.uint64(((part + 1 << 64) // parts) - 1)
        for shard, start in enumerate(self.starts[:-1]):
            values = self.shard(shard, [column])[column].to_numpy()
            chosen = self.without(shard, np.flatnonzero((values >= low) & (values <= high)), gone)
            numbers.append(chosen + start)
            keys.append(values[chosen])
        return np.concatenate(numbers), np.concatenate(keys)

    @staticmethod
    def without(shard: int, rows: np.ndarray, gone: "Table | None") -> np.ndarray:
        """Of these rows of a shard, ascending, those that a table of rows does not name."""
        named = gone.shard(shard, ["row"])["row"].to_numpy() if gone and gone.counts[shard] else rows[:0]
        return np.setdiff1d(rows, named, assume_unique=True) if len(named) else rows

    def _edges(self, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
        yield from pairwise(np.searchsorted(numbers, self.starts).tolist())


def write(directory: Path, name: str, shard: int, columns: dict[str, object]) -> None:
    """Writes one shard of a table."""
    pq.write_table(pa.table(columns), directory / file_name(name, shard), compression="lz4")


def mark(directory: Path, name: str, rows: Sequence[np.ndarray]) -> Table:
    """A table that names rows of each shard."""
    for shard, chosen in enumerate(rows):
        write(directory, name, shard, {"row": chosen})
    return Table(directory, name, tuple(len(chosen) for chosen in rows))


def file_name(name: str, shard: int) -> str:
    """Of one shard of a table."""
    return f"{name}-{shard:05d}.parquet"


def parts(rows: int, memory_mb: int) -> int:
    """Into how many ranges keys are cut so that sorting one stays within the memory."""
    return max(1, -(-rows * BYTES // (memory_mb * 1_000_000)))
