import itertools

import pytest

from stages.training.permutation import hash64, permute


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 16, 17, 100, 255, 256, 257, 1000, 4097])
@pytest.mark.parametrize("key", [0, 1, 12345, (1 << 64) - 1])
def test_every_index_has_its_own_position(length: int, key: int) -> None:
    assert sorted(permute(index, length, key) for index in range(length)) == list(range(length))


def test_keys_give_different_orders_and_none_is_the_identity() -> None:
    orders = {tuple(permute(index, 200, key) for index in range(200)) for key in range(50)}
    assert len(orders) == 50
    for order in orders:
        assert sum(place == index for index, place in enumerate(order)) < 12  # 1 on average
        steps = [b - a for a, b in itertools.pairwise(order)]
        assert len(set(steps)) > 60


def test_positions_are_uniform() -> None:
    """The first tenth of the indices goes to every tenth of the range alike."""
    counts = [0] * 10
    for key in range(40):
        for index in range(100):
            counts[permute(index, 1000, hash64(key)) // 100] += 1
    assert sum((count - 400) ** 2 / 400 for count in counts) < 27.9  # chi-squared, 9 degrees, 0.1%


def test_permuting_trillions_takes_constant_time() -> None:
    length = 15_600_000_000_000
    places = {permute(index, length, 7) for index in range(1000)}
    assert len(places) == 1000 and max(places) < length and max(places) > 0.9 * length
