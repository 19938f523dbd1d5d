"""Documents with too many words that their kind hardly uses: the Kullback-Leibler divergence of a document's words from
those of all documents of its language and domain (paper 3.1.1, after which "excessive numbers of outlier tokens" go).

The divergence of a short document is large by nature, so each is held against documents of its kind within a factor
of two of its length: it goes if it lies too many deviations above their median.
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
    """When the words of a document are outliers (3.1.1 names the measure and gives no value)."""

    hash_bits: Annotated[int, Field(ge=8, le=24)]
    """Binary logarithm of the number of hashed words that are told apart (assumption)."""

    documents: Annotated[int, Field(ge=2)]
    """Groups of fewer documents of like kind and length are not judged (assumption)."""

    deviations: dict[str, Annotated[float, Field(gt=0)]]
    """Domain -> deviations above the group's median from which on a document goes; a missing domain is not judged: in
    code and in exercises a rare word is no sign of gibberish (assumption)."""


Kind = tuple[str, str]
"""Language and domain."""


class Words:
    """How often each kind of document has each hashed word."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.counts: dict[Kind, np.ndarray] = {}

    def count(self, kind: Kind, words: Sequence[str]) -> None:
        """Adds a document."""
        table = self.counts.setdefault(kind, np.zeros(1 << self.bits, np.int64))
        np.add.at(table, hashed(words, self.bits), 1)

    def add(self, other: "Words") -> None:
        """Adds those of another shard."""
        for kind, counts in other.counts.items():
            self.counts[kind] = self.counts[kind] + counts if kind in self.counts else counts

    def frequencies(self) -> dict[Kind, np.ndarray]:
        """Kind -> [2^bits] share of each word, one occurrence of each added: no word is impossible."""
        return {kind: (counts + 1) / (counts.sum() + len(counts)) for kind, counts in sorted(self.counts.items())}


class Shard(NamedTuple):
    """One file of documents and what to hold them against."""

    source: Path
    reference: Mapping[Kind, np.ndarray]
    options: Divergence


class Score(NamedTuple):
    """A document's divergence from its kind, in nats per word, and the documents to compare it with."""

    language: str
    domain: str
    octave: int
    """Binary logarithm of the number of its words, rounded down."""
    divergence: float


class Outliers(NamedTuple):
    """The rows to remove of each shard, and what was found by group."""

    rows: list[list[int]]
    groups: Metrics


def score(kind: Kind, words: Sequence[str], shard: Shard) -> Score:
    """Kullback-Leibler divergence of the document's words from those of its kind: sum over words of p log(p / q)."""
    values, counts = np.unique(hashed(words, shard.options.hash_bits), return_counts=True)
    share = counts / counts.sum()
    nats = float((share * np.log(share / shard.reference[kind][values])).sum())
    return Score(*kind, int(math.log2(len(words))), round(nats, 6))


def outliers(scores: Sequence[Sequence[Score]], options: Divergence) -> Outliers:
    """Judges all documents; scores: shard by shard, row by row."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for one in (one for shard in scores for one in shard):
        groups.setdefault(one[:3], []).append(one.divergence)
    limits, found = {}, {}
    for group, values in sorted(groups.items()):
        language, domain, octave = group
        if len(values) < options.documents or domain not in options.deviations:
            continue
        median = float(np.median(values))
        spread = NORMAL * float(np.median(np.abs(np.array(values) - median)))
        limits[group] = median + options.deviations[domain] * spread
        found[f"{language} {domain}, {2**octave} words and more"] = {
            "documents": len(values),
            "median": round(median, 6),
            "limit": round(limits[group], 6),
        }
    rows = [
        [row for row, one in enumerate(shard) if one.divergence > limits.get(one[:3], math.inf)] for shard in scores
    ]
    return Outliers(rows, found)


def hashed(words: Sequence[str], bits: int) -> np.ndarray:
    """[words] int64: each word, in lower case, as one of 2^bits."""
    return (np.fromiter(map(_key, words), np.uint32, len(words)) >> np.uint32(32 - bits)).astype(np.int64)


@lru_cache(1 << 17)  # most words of a document were in others
def _key(word: str) -> int:
    return xxhash.xxh32_intdigest(word.lower().encode())
