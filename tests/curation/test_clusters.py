"""Clusters of near-duplicates."""

import numpy as np

from stages.curation.deduplication import clusters, minhash


def test_a_page_that_is_there_a_thousand_times_costs_no_million_pairs() -> None:
    keys = np.array([5] * 1000 + [7] * 3 + list(range(10, 20)), np.uint64)
    pairs = minhash.unpack(minhash.pairs_with_equal_keys(keys, np.arange(len(keys))))
    assert len(pairs) == 999 + 998 + 3
    joined = clusters.connected_components(pairs)
    assert np.unique(joined.roots, return_counts=True)[1].tolist() == [1000, 3]
