"""Divergence from the corpus' distribution of words."""

import math
from pathlib import Path

import pytest

from stages.curation.filters import divergence
from tests.curation.limits import LIMITS


def test_divergence_is_that_of_the_definition() -> None:
    words = divergence.WordCounts(16)
    words.add_document(("en", "prose"), ["a"] * 3 + ["b"])
    reference = words.frequencies()
    size = 1 << 16
    assert reference["en", "prose"].sum() == pytest.approx(1)
    expected = 0.5 * math.log(0.5 / (4 / (4 + size))) + 0.5 * math.log(0.5 / (1 / (4 + size)))
    shard = divergence.Shard(Path(), reference, LIMITS.divergence)
    score = divergence.score(("en", "prose"), ["A", "z"], shard)
    assert score == ("en", "prose", 1, pytest.approx(expected, abs=1e-6))
