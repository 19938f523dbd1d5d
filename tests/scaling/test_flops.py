"""FLOPs of a training."""

import pytest

from stages.scaling.flops import tokens_for, training_flops


def test_flops_are_counted_as_the_papers_numbers_agree() -> None:
    assert training_flops(405_853_388_800, 15.6e12) == pytest.approx(3.80e25, rel=0.002)
    assert tokens_for(3.80e25, 405_853_388_800) == pytest.approx(15.6e12, rel=0.002)
