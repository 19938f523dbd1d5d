"""Every number of Tables 3, 4 and 5 that the paper prints, those included that do not add up."""

import math

import numpy as np
import pytest

from stages.scaling import paper
from stages.scaling.reliability import (
    INTERRUPTIONS,
    MINUTES,
    UNEXPECTED,
    Reliability,
    best_interval,
    effective,
    simulate,
)

CLUSTER = Reliability(
    gpus=16_384, days=54, parameters=405e9, bytes_per_parameter=14, storage_bytes_per_second=2e12,
    checkpoint_minutes=10, restart_minutes=8, spare_nodes=64, repair_hours=24, runs=100,
)  # fmt: skip


def test_table_3_gives_the_released_models_parameters() -> None:
    counts = {name: paper.model(name).parameters for name in paper.SHAPES}
    assert counts == {"8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}


def test_the_printed_scaling_law_does_not_give_the_printed_tokens() -> None:
    """3.2.1: 16.55T is printed; the text's rounded law gives 10.46T, the legend's 16.29T."""
    found = paper.scaling()
    assert found["tokens"]["text"] == pytest.approx(10.46e12, rel=1e-3)
    assert found["tokens"]["legend of figure 3"] == pytest.approx(16.29e12, rel=1e-3)
    assert 0.299 * 3.8e25 ** found["exponent_for_printed_tokens"] == pytest.approx(16.55e12, rel=1e-9)
    assert round(found["exponent_for_printed_tokens"], 3) == 0.537  # so the legend's digits hold it
    assert found["flops_of_printed_optimum"] == pytest.approx(3.99e25, rel=1e-3)
    assert found["flops_of_the_flagship"] == pytest.approx(3.8e25, rel=1e-3)


def test_table_4_is_consistent_with_eight_data_parallel_ranks_at_128k() -> None:
    for row in map(paper.layout, paper.TABLE_4):
        assert row["product"] == row["gpus"]
        assert row["batch_tokens"] == 16 * 2**20
        assert row["computed_mfu"] == pytest.approx(row["mfu"], abs=0.6)  # the second row: 40.4, printed 41


def test_table_5_by_its_counts() -> None:
    found = paper.interruptions()
    assert UNEXPECTED == 419 and len(INTERRUPTIONS) == 18
    assert found["hours_between"] == pytest.approx(3.1, abs=0.05)
    assert found["faulty_gpu_share"] == pytest.approx(0.353, abs=5e-4)  # printed: 30.1%
    assert found["gpu_share"] == pytest.approx(0.640, abs=5e-4)  # printed: 58.7%
    assert found["hardware_share"] == pytest.approx(0.773, abs=5e-4)  # printed: about 78%
    assert found["hardware_share_with_maintenance"] == pytest.approx(0.850, abs=5e-4)


def test_54_days_are_a_part_of_the_budget() -> None:
    found = paper.training()
    assert found["share_of_budget_in_snapshot"] == pytest.approx(0.805, abs=1e-3)
    assert found["days_for_budget"] == pytest.approx(67.1, abs=0.05)


def test_the_simulation_agrees_with_the_closed_form_where_spare_nodes_abound() -> None:
    options = CLUSTER.model_copy(update={"spare_nodes": 100_000, "runs": 400})
    useful, lost = simulate(options, seed=3)
    expected = effective(options.rate, 10 * MINUTES, options.write_days, 8 * MINUTES)
    # The simulation lets no failure strike during a restart, which is worth rate x restart squared.
    assert useful.mean() == pytest.approx(expected, abs=4 * useful.std() / 20 + (options.rate * 8 * MINUTES) ** 2)
    assert options.write_days * 86_400 == pytest.approx(2.835)
    by_count = np.corrcoef([lost[c].mean() for c in lost], [INTERRUPTIONS[c][0] for c in lost])[0, 1]
    assert by_count > 0.99
    total = useful + sum(lost.values())
    assert np.all(total <= 1 + 1e-9) and total.mean() > 0.99  # the rest is the writing of checkpoints


def test_without_failures_only_the_checkpoints_cost() -> None:
    assert effective(1e-9, 1.0, 0.25, 1.0) == pytest.approx(0.8, rel=1e-6)


def test_the_best_interval_is_youngs_for_quick_checkpoints() -> None:
    rate, write = 8.0, 3 / 86_400
    assert best_interval(rate, write, 0.005) == pytest.approx(math.sqrt(2 * write / rate), rel=0.02)
    best = effective(rate, best_interval(rate, write, 0.005), write, 0.005)
    assert all(best >= effective(rate, minutes * MINUTES, write, 0.005) for minutes in range(1, 60))


def test_too_few_spare_nodes_cost_time() -> None:
    plenty, none = (simulate(CLUSTER.model_copy(update={"spare_nodes": spare}), 1)[0].mean() for spare in (64, 2))
    assert none < plenty - 0.05
