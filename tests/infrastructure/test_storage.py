"""Checkpoints on the paper's storage (3.3.1)."""

import pytest

from stages.infrastructure import paper
from stages.infrastructure.storage import checkpoint_stalls
from tests.infrastructure.cluster import CLUSTER


def test_a_checkpoint_of_405b_on_the_papers_storage() -> None:
    """3.3.1: 2 TB/s sustained, 7 TB/s at the peak; 1 MB to 4 GB per GPU."""
    result = checkpoint_stalls(CLUSTER, paper.STORAGE_SPEEDS)
    assert result["bytes"] == 405e9 * 12
    least, most = paper.CHECKPOINT_PER_GPU
    assert least < result["bytes_per_gpu"] < most
    sustained, peak = result["stalls"]
    assert (sustained["seconds"], peak["seconds"]) == pytest.approx((2.43, 4.86 / 7))
    assert sustained["share_of_time"] == pytest.approx(2.43 / 602.43)
    assert peak["effective_at_best"] > sustained["effective_at_best"]
    assert peak["best_interval_minutes"] < sustained["best_interval_minutes"]
