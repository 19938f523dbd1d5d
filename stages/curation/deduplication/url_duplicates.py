"""Of the versions of one page, under its normalised URL, the newest stays (paper 3.1.1, URL-level de-duplication)."""

from typing import NamedTuple

import numpy as np

from stages.curation.deduplication.catalog import Table, parts
from stages.interface import Context


class Part(NamedTuple):
    """A range of addresses."""

    catalog: Table
    part: int
    parts: int


def find(catalog: Table, memory_mb: int, context: Context) -> np.ndarray:
    """Numbers of the documents whose address has a newer, or as new and longer, version; ascending."""
    number = parts(catalog.rows, memory_mb)
    work = [Part(catalog, part, number) for part in range(number)]
    found = context.map("addresses", older, work, kind="process")
    return np.sort(np.concatenate(found))


def older(work: Part) -> np.ndarray:
    """All but the best of each address, within one range of addresses."""
    numbers, keys = work.catalog.keys("address", work.part, work.parts)
    values, counts = np.unique(keys, return_counts=True)
    shared = np.isin(keys, values[counts > 1])
    numbers, keys = numbers[shared], keys[shared]
    table = work.catalog.rows_of(numbers, ["date", "length", "id"])
    best: dict[int, tuple[tuple[str, int, str], int]] = {}
    for number, key, date, length, name in zip(
        numbers.tolist(), keys.tolist(), *(table[column].to_pylist() for column in table.column_names), strict=True
    ):
        rank = (date, length, name)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, number)
    stay = np.array([number for _, number in best.values()], np.int64)
    return np.setdiff1d(numbers, stay, assume_unique=True)
