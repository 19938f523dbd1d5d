"""The place of each document's quality among the documents of its language (paper 3.1.1: multilingual documents are
ranked by quality). One classifier's scores mean little across languages; the order within one does."""

from collections.abc import Mapping

import numpy as np

BINS = 10_000
"""Scores are told apart to this part of 1: the counts of a language take the same memory for any number of pages."""


class Ranking:
    """How many documents of each language have which score."""

    def __init__(self) -> None:
        self.counts: dict[str, np.ndarray] = {}

    def count(self, language: str, score: float) -> None:
        """Adds a document; score: 0 to 1."""
        self.counts.setdefault(language, np.zeros(BINS + 1, np.int64))[round(score * BINS)] += 1

    def add(self, other: "Ranking") -> None:
        """Adds the documents of another shard."""
        for language, counts in other.counts.items():
            self.counts[language] = self.counts[language] + counts if language in self.counts else counts

    def places(self) -> Mapping[str, np.ndarray]:
        """Language -> [BINS + 1] share of its documents below each score, with half of those that have it."""
        return {
            language: np.round((np.cumsum(counts) - counts / 2) / counts.sum(), 6)
            for language, counts in sorted(self.counts.items())
        }


def place(places: Mapping[str, np.ndarray], language: str, score: float) -> float:
    """The rank of a document that was counted, 0 to 1."""
    return float(places[language][round(score * BINS)])
