"""Percentiles of document quality within a language (paper 3.1.1: multilingual documents are ranked by quality). Scores
of a classifier are not comparable across languages, but their order within a language is."""

from collections.abc import Mapping

import numpy as np

BINS = 10_000
"""Bins of the histogram of scores; a language takes the same memory for any number of documents."""


class ScoreHistogram:
    """Number of documents by language and score."""

    def __init__(self) -> None:
        self.counts: dict[str, np.ndarray] = {}

    def add_score(self, language: str, score: float) -> None:
        """Adds a document with a score from 0 to 1."""
        self.counts.setdefault(language, np.zeros(BINS + 1, np.int64))[round(score * BINS)] += 1

    def merge(self, other: "ScoreHistogram") -> None:
        """Adds the histogram of another shard."""
        for language, counts in other.counts.items():
            self.counts[language] = self.counts[language] + counts if language in self.counts else counts

    def percentiles(self) -> Mapping[str, np.ndarray]:
        """Language -> [BINS + 1] share of its documents below each score, plus half of those with that score."""
        return {
            language: np.round((np.cumsum(counts) - counts / 2) / counts.sum(), 6)
            for language, counts in sorted(self.counts.items())
        }


def percentile(percentiles: Mapping[str, np.ndarray], language: str, score: float) -> float:
    """The percentile of a counted document, 0 to 1."""
    return float(percentiles[language][round(score * BINS)])
