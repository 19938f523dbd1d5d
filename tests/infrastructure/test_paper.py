"""Every number of Tables 3, 4 and 5 that the paper prints, those included that do not add up."""

import pytest

from stages.infrastructure import paper
from stages.infrastructure.reliability import INTERRUPTIONS, NUM_INTERRUPTIONS


def test_table_3_gives_the_released_models_parameters() -> None:
    counts = {name: paper.model_config(name).parameters for name in paper.SHAPES}
    assert counts == {"8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}


def test_the_printed_scaling_law_does_not_give_the_printed_tokens() -> None:
    """3.2.1: 16.55T is printed; the text's rounded law gives 10.46T, the legend's 16.29T."""
    result = paper.check_scaling_law()
    assert result["tokens"]["text"] == pytest.approx(10.46e12, rel=1e-3)
    assert result["tokens"]["legend of figure 3"] == pytest.approx(16.29e12, rel=1e-3)
    assert 0.299 * 3.8e25 ** result["exponent_for_printed_tokens"] == pytest.approx(16.55e12, rel=1e-9)
    assert round(result["exponent_for_printed_tokens"], 3) == 0.537  # so the legend's digits hold it
    assert result["flops_of_printed_optimum"] == pytest.approx(3.99e25, rel=1e-3)
    assert result["flops_of_the_flagship"] == pytest.approx(3.8e25, rel=1e-3)


def test_table_4_is_consistent_with_eight_data_parallel_ranks_at_128k() -> None:
    for row in map(paper.recompute_row, paper.TABLE_4):
        assert row["product"] == row["gpus"]
        assert row["batch_tokens"] == 16 * 2**20
        assert row["computed_mfu"] == pytest.approx(row["mfu"], abs=0.6)  # the second row: 40.4, printed 41


def test_table_5_by_its_counts() -> None:
    result = paper.count_interruptions()
    assert NUM_INTERRUPTIONS == 419 and len(INTERRUPTIONS) == 18
    assert result["hours_between"] == pytest.approx(3.1, abs=0.05)
    assert result["faulty_gpu_share"] == pytest.approx(0.353, abs=5e-4)  # printed: 30.1%
    assert result["gpu_share"] == pytest.approx(0.640, abs=5e-4)  # printed: 58.7%
    assert result["hardware_share"] == pytest.approx(0.773, abs=5e-4)  # printed: about 78%
    assert result["hardware_share_with_maintenance"] == pytest.approx(0.850, abs=5e-4)


def test_54_days_are_a_part_of_the_budget() -> None:
    result = paper.check_training_time()
    assert result["share_of_budget_in_snapshot"] == pytest.approx(0.805, abs=1e-3)
    assert result["days_for_budget"] == pytest.approx(67.1, abs=0.05)
    assert result["tokens_in_snapshot"] == pytest.approx(12.556e12, rel=1e-4)  # of 15.6T
