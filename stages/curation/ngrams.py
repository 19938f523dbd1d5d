"""Hashes of word n-grams, and the words that selected n-grams cover."""

import numpy as np

UNSPACED_SCRIPTS = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
"""Scripts without spaces, as ranges of a regular expression: each character is a word."""


def hash_ngrams(words: np.ndarray, n: int) -> np.ndarray:
    """[words - n + 1] uint64 hashes of all n-grams of [words] uint64 word hashes; empty if there are fewer words."""
    keys = np.zeros(max(0, len(words) - n + 1), np.uint64)
    for offset in range(n):
        keys = (keys ^ words[offset : offset + len(keys)]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def covered_words(is_selected: np.ndarray, n: int) -> np.ndarray:
    """[words] bool: whether a word is part of a selected n-gram. is_selected: [n-grams] bool."""
    steps = np.zeros(len(is_selected) + n, np.int64)
    starts = np.flatnonzero(is_selected)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + n, -1)
    covered: np.ndarray = np.cumsum(steps[:-1]) > 0
    return covered
