"""The peak learning rate by size."""

import pytest

from stages.scaling.ladder import LearningRate


def test_the_learning_rate_goes_through_the_papers_peaks() -> None:
    rate = LearningRate(reference=8e-5, parameters=405_853_388_800, exponent=-0.33)
    for parameters, peak in ((8_030_261_248, 3e-4), (70_553_706_496, 1.5e-4), (405_853_388_800, 8e-5)):
        assert rate.at(parameters) == pytest.approx(peak, rel=0.06)
