"""Measures of repetition."""

import numpy as np
import pytest

from stages.curation.filters.repetition import duplicate_share, top_share


def test_repetition_measures_on_a_worked_example() -> None:
    # Words of one letter: a b c a b c a b c d. The 3-gram abc covers 9 of 10 letters, 6 of them for a second time.
    ids = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3], np.uint64)
    sizes = np.ones(10, np.int64)
    assert top_share(ids, sizes, 3) == pytest.approx(0.9)
    assert duplicate_share(ids, sizes, 3) == pytest.approx(0.6)
    assert duplicate_share(ids, sizes, 11) == top_share(ids, sizes, 11) == 0
    assert duplicate_share(np.arange(10, dtype=np.uint64), sizes, 2) == 0
