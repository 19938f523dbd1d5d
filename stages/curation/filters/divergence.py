"""Finds documents with outlier words by the Kullback-Leibler divergence of their words from those of all documents of
the same language and domain (paper 3.1.1: "excessive numbers of outlier tokens").

Short documents have a large divergence, so each is compared with documents within a factor of two of its length. It is
removed if its divergence is too many deviations above their median.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import xxhash
from pydantic import Field

from stages.interface import Metrics, Section

NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


class Divergence(Section):
    """Limits on the divergence (3.1.1 names the measure and gives no value)."""

    hash_bits: Annotated[int, Field(ge=8, le=24)]
    """Binary logarithm of the number of hashed words (assumption)."""

    documents: Annotated[int, Field(ge=2)]
    """Groups of fewer documents with the same language, domain and length are skipped (assumption)."""

    deviations: dict[str, Annotated[float, Field(gt=0)]]
    """Domain -> maximum deviations above the group's median. Missing domains are skipped: in code and exercises rare
    words are normal (assumption)."""


Kind = tuple[str, str]
"""Language and domain."""


class WordCounts:
    """Counts of hashed words by kind of document."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.counts: dict[Kind, np.ndarray] = {}

    def add_document(self, kind: Kind, words: Sequence[str]) -> None:
        """Counts the words of a document."""
        table = self.counts.setdefault(kind, np.zeros(1 << self.bits, np.int64))
        np.add.at(table, hash_words(words, self.bits), 1)

    def merge(self, other: "WordCounts") -> None:
        """Adds the counts of another shard."""
        for kind, counts in other.counts.items():
            self.counts[kind] = self.counts[kind] + counts if kind in self.counts else counts

    def frequencies(self) -> dict[Kind, np.ndarray]:
        """Kind -> [2^bits] frequency of each word with add-one smoothing."""
        return {kind: (counts + 1) / (counts.sum() + len(counts)) for kind, counts in sorted(self.counts.items())}


class Shard(NamedTuple):
    """One file of documents, and the reference frequencies."""

    source: Path
    reference: Mapping[Kind, np.ndarray]
    options: Divergence


class Score(NamedTuple):
    """A document's divergence from its kind, in nats per word, and its group for comparison."""

    language: str
    domain: str
    log2_words: int
    """Binary logarithm of its number of words, rounded down."""
    divergence: float


class Outliers(NamedTuple):
    """Rows to remove by shard, and statistics by group."""

    rows: list[list[int]]
    groups: Metrics


def score(kind: Kind, words: Sequence[str], shard: Shard) -> Score:
    """Kullback-Leibler divergence of the document's words from those of its kind: sum over words of p log(p / q)."""
    values, counts = np.unique(hash_words(words, shard.options.hash_bits), return_counts=True)
    share = counts / counts.sum()
    nats = float((share * np.log(share / shard.reference[kind][values])).sum())
    return Score(*kind, int(math.log2(len(words))), round(nats, 6))


def find_outliers(scores: Sequence[Sequence[Score]], options: Divergence) -> Outliers:
    """Finds outliers in all groups; scores: by shard and row."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for document in (document for shard in scores for document in shard):
        groups.setdefault(document[:3], []).append(document.divergence)
    limits, statistics = {}, {}
    for group, values in sorted(groups.items()):
        language, domain, log2_words = group
        if len(values) < options.documents or domain not in options.deviations:
            continue
        median = float(np.median(values))
        spread = NORMAL * float(np.median(np.abs(np.array(values) - median)))
        limits[group] = median + options.deviations[domain] * spread
        statistics[f"{language} {domain}, {2**log2_words} words and more"] = {
            "documents": len(values),
            "median": round(median, 6),
            "limit": round(limits[group], 6),
        }
    rows = [
        [row for row, document in enumerate(shard) if document.divergence > limits.get(document[:3], math.inf)]
        for shard in scores
    ]
    return Outliers(rows, statistics)


def hash_words(words: Sequence[str], bits: int) -> np.ndarray:
    """[words] int64 hashes below 2^bits of the words in lower case."""
    return (np.fromiter(map(_key, words), np.uint32, len(words)) >> np.uint32(32 - bits)).astype(np.int64)


@lru_cache(1 << 17)  # most words occurred before
def _key(word: str) -> int:
    return xxhash.xxh32_intdigest(word.lower().encode())
