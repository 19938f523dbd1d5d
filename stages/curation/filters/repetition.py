"""Measures repetition as in Rae et al. (2021, Gopher, table A1), to find logs and lists of keywords (paper 3.1.1,
duplicated n-gram coverage)."""

from typing import Annotated

import numpy as np
from pydantic import Field

from stages.curation.ngrams import covered_words, hash_ngrams
from stages.interface import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Repetition(Section):
    """Limits on repetition. A missing n is not checked."""

    top: dict[Annotated[int, Field(ge=1)], Share]
    """n -> maximum share of characters in the top n-gram (paper 3.1.1 names the measure; values: Gopher, for prose)."""

    duplicate: dict[Annotated[int, Field(ge=1)], Share]
    """n -> maximum share of characters in n-grams that occurred before in the document (as above)."""

    words: Annotated[int, Field(ge=0)]
    """N-grams of shorter texts are not checked (Gopher's rules are for 50 words and more)."""

    lines: Share
    """Maximum share of characters in lines that occurred before in the document (as above)."""


def find_repetition(text: str, words: list[str], limits: Repetition) -> str | None:
    """The name of the first measure above its limit, or None."""
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
    vocabulary: dict[str, int] = {}
    ids = np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], np.uint64)
    sizes = np.array([len(word) for word in words], np.int64)
    for n, share in limits.top.items():
        if top_share(ids, sizes, n) > share:
            return f"one {n}-gram too often"
    for n, share in limits.duplicate.items():
        if duplicate_share(ids, sizes, n) > share:
            return f"repeated {n}-grams"
    return None


def top_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in the n-gram with the most characters; 0 if none occurs twice. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = hash_ngrams(ids, n)
    _, first, count = np.unique(keys, return_index=True, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    covered = np.where(count > 1, count * (edges[first + n] - edges[first]), 0)
    return float(covered.max() / edges[-1])


def duplicate_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in n-grams that occurred before; each character counts once. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = hash_ngrams(ids, n)
    is_repeated = np.ones(len(keys), bool)
    is_repeated[np.unique(keys, return_index=True)[1]] = False
    return float(sizes[covered_words(is_repeated, n)].sum() / sizes.sum())
