import itertools
import math

import pytest

from stages.training.schedule import Schedule


def test_the_papers_schedule() -> None:
    """405B (3.4.1): warm-up of 8,000 steps to 8e-5, cosine to 8e-7 after 1,200,000."""
    schedule = Schedule(8e-5, 1_200_000, 8_000, "cosine", 0.01)
    assert schedule(0) == pytest.approx(8e-5 / 8_000)
    assert schedule(3_999) == pytest.approx(4e-5)
    assert schedule(7_999) == schedule(8_000) == pytest.approx(8e-5)
    assert schedule((8_000 + 1_200_000) // 2) == pytest.approx((8e-5 + 8e-7) / 2)
    assert schedule(1_200_000) == pytest.approx(8e-7)
    assert schedule(1_199_999) == pytest.approx(8e-7, rel=1e-4)


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_rate_warms_up_and_then_decays_to_the_floor(decay: str) -> None:
    schedule = Schedule(2.0, 50, 10, decay, 0.25)  # type: ignore[arg-type]
    rates = [schedule(step) for step in range(51)]
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert max(rates) == 2.0 and rates[50] == pytest.approx(0.5)


def test_linear_decay_has_equal_steps_to_zero() -> None:
    schedule = Schedule(1.0, 20, decay="linear")
    rates = [schedule(step) for step in range(21)]
    assert all(a - b == pytest.approx(0.05) for a, b in itertools.pairwise(rates))
    assert rates[0] == 1.0 and rates[19] == pytest.approx(0.05) and rates[20] == 0.0


def test_cosine_is_a_cosine_and_constant_is_constant() -> None:
    schedule = Schedule(1.0, 40)
    assert [schedule(step) for step in (0, 10, 20, 30)] == pytest.approx(
        [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]
    )
    assert {Schedule(3.0, 40, decay="constant")(step) for step in range(40)} == {3.0}
    assert Schedule(1.0, 1, 1)(0) == 1.0  # a run of one step is all warm-up
