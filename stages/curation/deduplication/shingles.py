"""Shingles (word n-grams) of many documents at a time, made and hashed in compiled loops, without a Python object per
word (paper 3.1.1, de-duplication)."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit

from stages.curation.ngrams import UNSPACED_SCRIPTS

SEPARATOR, LETTER, WORD = 0, 1, 2
"""Classes of characters: between words, part of a word, a word by itself."""


class Shingles(NamedTuple):
    """The shingles of several documents. Each is a span of one text with single spaces between words."""

    text: np.ndarray
    """[bytes] uint8: the words of all documents, lower-case, UTF-8."""
    spans: np.ndarray
    """[shingles, 2] int64: start and end byte of each."""
    offsets: np.ndarray
    """[documents + 1] int64: index of each document's first shingle."""

    def hashes(self, seed: int = 0) -> np.ndarray:
        """[shingles] uint32: XXH32 of each shingle."""
        return _hash_spans(self.text, self.spans, seed)

    def sets(self) -> list[np.ndarray]:
        """The distinct shingles of each document, as sorted 64-bit hashes."""
        wide = self.hashes(0).astype(np.uint64) << np.uint64(32) | self.hashes(1)
        return [np.unique(wide[first:last]) for first, last in pairwise(self.offsets)]

    def lists(self) -> list[list[bytes]]:
        """The shingles of each document as bytes, for other tools."""
        text, spans = self.text.tobytes(), self.spans.tolist()
        edges = self.offsets.tolist()
        return [[text[a:b] for a, b in spans[first:last]] for first, last in pairwise(edges)]


def make_shingles(texts: Sequence[str], n: int) -> Shingles:
    """All n-grams of words of each text; a text with fewer than n words is one shingle."""
    lower = [text.lower() for text in texts]
    ends = np.cumsum([0, *map(len, lower)])
    codes = np.frombuffer("".join(lower).encode("utf-32-le"), np.uint32)
    return Shingles(*_make_shingles(codes, ends, _character_classes(), n))


@cache
def _character_classes() -> np.ndarray:
    """[Unicode code points] uint8: the class of each character."""
    all_characters = np.delete(np.arange(0x110000, dtype=np.uint32), np.s_[0xD800:0xE000]).tobytes().decode("utf-32-le")
    kinds = np.full(0x110000, SEPARATOR, np.uint8)
    for kind, pattern in ((LETTER, r"\w+"), (WORD, f"[{UNSPACED_SCRIPTS}]+")):
        for run in re.finditer(pattern, all_characters):
            kinds[ord(run[0][0]) : ord(run[0][-1]) + 1] = kind
    return kinds


@njit(cache=True)
def _make_shingles(
    codes: np.ndarray, ends: np.ndarray, kinds: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover
    documents = len(ends) - 1
    text = np.empty(5 * len(codes), np.uint8)  # at most four bytes per character, and a space
    first, last = np.empty(len(codes) + 1, np.int64), np.empty(len(codes) + 1, np.int64)
    spans = np.empty((len(codes) + documents, 2), np.int64)
    offsets = np.zeros(documents + 1, np.int64)
    end = shingles = 0
    for document in range(documents):
        words, within, start = 0, False, end
        for place in range(ends[document], ends[document + 1]):
            code = codes[place]
            kind = kinds[code]
            if kind == SEPARATOR:
                within = False
                continue
            if kind == WORD or not within:
                if words:
                    text[end] = 32
                    end += 1
                first[words] = end
                words += 1
            within = kind == LETTER
            if code < 0x80:
                text[end] = code
                end += 1
            elif code < 0x800:
                text[end], text[end + 1] = 0xC0 | code >> 6, 0x80 | code & 63
                end += 2
            elif code < 0x10000:
                text[end], text[end + 1] = 0xE0 | code >> 12, 0x80 | code >> 6 & 63
                text[end + 2] = 0x80 | code & 63
                end += 3
            else:
                text[end], text[end + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 63
                text[end + 2], text[end + 3] = 0x80 | code >> 6 & 63, 0x80 | code & 63
                end += 4
            last[words - 1] = end
        if words <= n:
            spans[shingles, 0], spans[shingles, 1] = start, end
            shingles += 1
        else:
            for word in range(words - n + 1):
                spans[shingles, 0], spans[shingles, 1] = first[word], last[word + n - 1]
                shingles += 1
        offsets[document + 1] = shingles
    return text[:end].copy(), spans[:shingles].copy(), offsets


@njit(cache=True)
def _hash_spans(text: np.ndarray, spans: np.ndarray, seed: int) -> np.ndarray:  # pragma: no cover
    hashes = np.empty(len(spans), np.uint32)
    for shingle in range(len(spans)):
        hashes[shingle] = _xxh32(text, spans[shingle, 0], spans[shingle, 1], np.uint32(seed))
    return hashes


P1, P2, P3, P4, P5 = (np.uint32(prime) for prime in (2654435761, 2246822519, 3266489917, 668265263, 374761393))


@njit(inline="always")
def _read_uint32(text: np.ndarray, place: int) -> np.uint32:  # pragma: no cover
    return np.uint32(
        np.uint32(text[place])
        | np.uint32(text[place + 1]) << 8
        | np.uint32(text[place + 2]) << 16
        | np.uint32(text[place + 3]) << 24
    )


@njit(inline="always")
def _rotate_left(value: np.uint32, bits: int) -> np.uint32:  # pragma: no cover
    return np.uint32(np.uint32(value << bits) | np.uint32(value >> (32 - bits)))


@njit(inline="always")
def _round(state: np.uint32, value: np.uint32) -> np.uint32:  # pragma: no cover
    return np.uint32(_rotate_left(np.uint32(state + np.uint32(value * P2)), 13) * P1)


@njit(cache=True)
def _xxh32(text: np.ndarray, place: int, end: int, seed: np.uint32) -> np.uint32:  # pragma: no cover
    length = end - place
    if length >= 16:
        a, b = np.uint32(seed + P1 + P2), np.uint32(seed + P2)
        c, d = seed, np.uint32(seed - P1)
        while place <= end - 16:
            a, b = _round(a, _read_uint32(text, place)), _round(b, _read_uint32(text, place + 4))
            c, d = _round(c, _read_uint32(text, place + 8)), _round(d, _read_uint32(text, place + 12))
            place += 16
        state = np.uint32(_rotate_left(a, 1) + _rotate_left(b, 7) + _rotate_left(c, 12) + _rotate_left(d, 18))
    else:
        state = np.uint32(seed + P5)
    state = np.uint32(state + np.uint32(length))
    while place <= end - 4:
        state = np.uint32(_rotate_left(np.uint32(state + np.uint32(_read_uint32(text, place) * P3)), 17) * P4)
        place += 4
    while place < end:
        state = np.uint32(_rotate_left(np.uint32(state + np.uint32(text[place] * P5)), 11) * P1)
        place += 1
    state = np.uint32((state ^ (state >> 15)) * P2)
    state = np.uint32((state ^ (state >> 13)) * P3)
    return np.uint32(state ^ (state >> 16))
