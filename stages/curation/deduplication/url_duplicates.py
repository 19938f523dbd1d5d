"""Keeps the newest version of each normalized URL (paper 3.1.1, URL-level de-duplication)."""

from typing import NamedTuple

import numpy as np

from stages.curation.deduplication.catalog import Table, num_parts
from stages.interface import Context


class Part(NamedTuple):
    """A range of hashed URLs."""

    catalog: Table
    part: int
    num_parts: int


def find_older_versions(catalog: Table, memory_mb: int, context: Context) -> np.ndarray:
    """Ascending numbers of the documents whose URL has a newer, or equally new and longer, version."""
    parts = num_parts(catalog.num_rows, memory_mb)
    work = [Part(catalog, part, parts) for part in range(parts)]
    found = context.map("addresses", older_versions, work, kind="process")
    return np.sort(np.concatenate(found))


def older_versions(work: Part) -> np.ndarray:
    """Numbers of all but the newest version of each URL, within one range of URLs."""
    numbers, keys = work.catalog.keys_in_range("address", work.part, work.num_parts)
    values, counts = np.unique(keys, return_counts=True)
    is_shared = np.isin(keys, values[counts > 1])
    numbers, keys = numbers[is_shared], keys[is_shared]
    table = work.catalog.read_rows(numbers, ["date", "length", "id"])
    best: dict[int, tuple[tuple[str, int, str], int]] = {}
    for number, key, date, length, id in zip(
        numbers.tolist(), keys.tolist(), *(table[column].to_pylist() for column in table.column_names), strict=True
    ):
        rank = (date, length, id)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, number)
    kept = np.array([number for _, number in best.values()], np.int64)
    return np.setdiff1d(numbers, kept, assume_unique=True)
