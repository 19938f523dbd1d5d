"""How much of a text repeats itself, as Rae et al. (2021, Gopher, table A1) measure it (paper 3.1.1, duplicated n-gram
coverage): a page of logs or of keywords does where prose does not."""

from typing import Annotated

import numpy as np
from pydantic import Field

from stages.interface import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Repetition(Section):
    """Largest share of characters in repeated n-grams of words; a missing n is not looked at."""

    top: dict[Annotated[int, Field(ge=1)], Share]
    """n -> largest share of the most frequent n-gram (paper 3.1.1 names the measure; values: Gopher, for prose)."""

    duplicate: dict[Annotated[int, Field(ge=1)], Share]
    """n -> largest share of n-grams that occurred before in the document (as above)."""

    words: Annotated[int, Field(ge=0)]
    """Texts of fewer words are not judged by their n-grams (Gopher's rules are for 50 words and more)."""

    lines: Share
    """Largest share of characters in lines that occurred before in the document (as above)."""


def repetition(text: str, words: list[str], limits: Repetition) -> str | None:
    """The first measure of repetition that is over its limit, or None."""
    lines = [line for line in (line.strip() for line in text.split("\n")) if line]
    seen: set[str] = set()
    repeated = total = 0
    for line in lines:
        total += len(line)
        repeated += len(line) if line in seen else 0
        seen.add(line)
    if repeated > limits.lines * total:
        return "repeated lines"
    if len(words) < limits.words:
        return None
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.uint64)
    sizes = np.array([len(word) for word in words], np.int64)
    for n, share in limits.top.items():
        if top_share(ids, sizes, n) > share:
            return f"one {n}-gram too often"
    for n, share in limits.duplicate.items():
        if duplicate_share(ids, sizes, n) > share:
            return f"repeated {n}-grams"
    return None


def top_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in the n-gram that covers the most; 0 where none occurs twice. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = _ngrams(ids, n)
    _, first, count = np.unique(keys, return_index=True, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    covered = np.where(count > 1, count * (edges[first + n] - edges[first]), 0)
    return float(covered.max() / edges[-1])


def duplicate_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in n-grams that occurred before, each character counted once. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = _ngrams(ids, n)
    again = np.ones(len(keys), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    starts = np.flatnonzero(again)
    steps = np.zeros(len(ids) + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + n, -1)
    return float(sizes[np.cumsum(steps[:-1]) > 0].sum() / sizes.sum())


def _ngrams(ids: np.ndarray, n: int) -> np.ndarray:
    """[words - n + 1] keys, equal where n-grams are (up to 64-bit collisions)."""
    keys = np.zeros(len(ids) - n + 1, np.uint64)
    for place in range(n):
        keys = (keys ^ ids[place : len(ids) - n + 1 + place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys
