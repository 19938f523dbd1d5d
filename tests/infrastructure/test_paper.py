"""Every number of Tables 3, 4 and 5 that the paper prints, those included that do not add up."""

import math

import numpy as np
import pytest

from stages.infrastructure import paper
from stages.infrastructure.reliability import (
    INTERRUPTIONS,
    MINUTES,
    NUM_INTERRUPTIONS,
    Reliability,
    best_checkpoint_interval,
    effective_time,
    simulate,
)
from stages.infrastructure.storage import checkpoint_stalls

CLUSTER = Reliability(
    gpus=16_384,
    days=54,
    parameters=405e9,
    bytes_per_parameter=12,
    storage_bytes_per_second=2e12,
    checkpoint_minutes=10,
    detect_minutes=3,
    restart_minutes=5,
    spare_nodes=64,
    repair_hours=24,
    runs=100,
)


def test_table_3_gives_the_released_models_parameters() -> None:
    counts = {name: paper.model_config(name).parameters for name in paper.SHAPES}
    assert counts == {"8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}


def test_the_printed_scaling_law_does_not_give_the_printed_tokens() -> None:
    """3.2.1: 16.55T is printed; the text's rounded law gives 10.46T, the legend's 16.29T."""
    found = paper.check_scaling_law()
    assert found["tokens"]["text"] == pytest.approx(10.46e12, rel=1e-3)
    assert found["tokens"]["legend of figure 3"] == pytest.approx(16.29e12, rel=1e-3)
    assert 0.299 * 3.8e25 ** found["exponent_for_printed_tokens"] == pytest.approx(16.55e12, rel=1e-9)
    assert round(found["exponent_for_printed_tokens"], 3) == 0.537  # so the legend's digits hold it
    assert found["flops_of_printed_optimum"] == pytest.approx(3.99e25, rel=1e-3)
    assert found["flops_of_the_flagship"] == pytest.approx(3.8e25, rel=1e-3)


def test_table_4_is_consistent_with_eight_data_parallel_ranks_at_128k() -> None:
    for row in map(paper.recompute_row, paper.TABLE_4):
        assert row["product"] == row["gpus"]
        assert row["batch_tokens"] == 16 * 2**20
        assert row["computed_mfu"] == pytest.approx(row["mfu"], abs=0.6)  # the second row: 40.4, printed 41


def test_table_5_by_its_counts() -> None:
    found = paper.count_interruptions()
    assert NUM_INTERRUPTIONS == 419 and len(INTERRUPTIONS) == 18
    assert found["hours_between"] == pytest.approx(3.1, abs=0.05)
    assert found["faulty_gpu_share"] == pytest.approx(0.353, abs=5e-4)  # printed: 30.1%
    assert found["gpu_share"] == pytest.approx(0.640, abs=5e-4)  # printed: 58.7%
    assert found["hardware_share"] == pytest.approx(0.773, abs=5e-4)  # printed: about 78%
    assert found["hardware_share_with_maintenance"] == pytest.approx(0.850, abs=5e-4)


def test_54_days_are_a_part_of_the_budget() -> None:
    found = paper.check_training_time()
    assert found["share_of_budget_in_snapshot"] == pytest.approx(0.805, abs=1e-3)
    assert found["days_for_budget"] == pytest.approx(67.1, abs=0.05)
    assert found["tokens_in_snapshot"] == pytest.approx(12.556e12, rel=1e-4)  # of 15.6T


@pytest.mark.parametrize(
    "change", [{}, {"gpus": 131_072, "days": 10}, {"checkpoint_minutes": 40, "restart_minutes": 30}]
)
def test_the_simulation_agrees_with_the_closed_form_where_spare_nodes_abound(change: dict) -> None:
    """Daly's form knows interruptions during a restart; where they are many only a simulation that has them agrees."""
    options = CLUSTER.model_copy(update={"spare_nodes": 100_000, "runs": 200} | change)
    found = simulate(options, seed=3)
    expected = effective_time(options.failure_rate, options.checkpoint_days, options.write_days, options.down_days)
    assert found.useful.mean() == pytest.approx(expected, abs=4 * found.useful.std() / math.sqrt(options.runs))
    assert found.by_kind["waiting for a node"].max() == 0


def test_every_minute_of_a_simulated_run_goes_somewhere() -> None:
    found = simulate(CLUSTER.model_copy(update={"spare_nodes": 2}), seed=5)
    assert found.useful + sum(found.by_kind.values()) == pytest.approx(np.ones(CLUSTER.runs), abs=1e-9)
    interruptions = sum(shares for kind, shares in found.by_kind.items() if kind != "checkpoints")
    assert sum(found.by_cause.values()) == pytest.approx(interruptions, abs=1e-9)
    assert found.by_kind["waiting for a node"].mean() > 0


def test_causes_cost_by_their_counts_and_detection_and_restart_by_their_minutes() -> None:
    options = CLUSTER.model_copy(update={"spare_nodes": 100_000})
    found = simulate(options, seed=4)
    by_count = np.corrcoef(
        [found.by_cause[c].mean() for c in found.by_cause], [INTERRUPTIONS[c][0] for c in found.by_cause]
    )[0, 1]
    assert by_count > 0.99
    assert found.by_kind["detection"].mean() / found.by_kind["restart"].mean() == pytest.approx(3 / 5, rel=0.03)
    # A failure falls anywhere between two checkpoints: half an interval is lost on the average.
    assert found.by_kind["lost work"].mean() == pytest.approx(options.failure_rate * 5 * MINUTES, rel=0.05)
    at_once = simulate(options.model_copy(update={"detect_minutes": 0}), seed=4)
    assert at_once.useful.mean() > found.useful.mean() + 0.9 * options.failure_rate * 3 * MINUTES
    assert at_once.by_kind["detection"].max() == 0


def test_over_ninety_percent_at_the_papers_rate() -> None:
    """3.3.4: over 90% effective training time at one interruption in 3.1 hours."""
    found = paper.simulate_reliability(CLUSTER, seed=1)
    assert found["effective_time"]["low"] > 0.9
    falling = [row["effective_at_best"] for row in found["by_gpus"]]
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.6
    assert all(row["effective_at_best"] >= row["effective"] for row in found["by_gpus"])


def test_a_checkpoint_of_405b_on_the_papers_storage() -> None:
    """3.3.1: 2 TB/s sustained, 7 TB/s at the peak; 1 MB to 4 GB per GPU."""
    found = checkpoint_stalls(CLUSTER, paper.STORAGE_SPEEDS)
    assert found["bytes"] == 405e9 * 12
    least, most = paper.CHECKPOINT_PER_GPU
    assert least < found["bytes_per_gpu"] < most
    sustained, peak = found["stalls"]
    assert (sustained["seconds"], peak["seconds"]) == pytest.approx((2.43, 4.86 / 7))
    assert sustained["share_of_time"] == pytest.approx(2.43 / 602.43)
    assert peak["effective_at_best"] > sustained["effective_at_best"]
    assert peak["best_interval_minutes"] < sustained["best_interval_minutes"]


def test_without_failures_only_the_checkpoints_cost() -> None:
    assert effective_time(1e-9, 1.0, 0.25, 1.0) == pytest.approx(0.8, rel=1e-6)


def test_the_best_interval_is_youngs_for_quick_checkpoints() -> None:
    rate, write = 8.0, 3 / 86_400
    assert best_checkpoint_interval(rate, write, 0.005) == pytest.approx(math.sqrt(2 * write / rate), rel=0.02)
    best = effective_time(rate, best_checkpoint_interval(rate, write, 0.005), write, 0.005)
    assert all(best >= effective_time(rate, minutes * MINUTES, write, 0.005) for minutes in range(1, 60))


def test_too_few_spare_nodes_cost_time() -> None:
    plenty, none = (simulate(CLUSTER.model_copy(update={"spare_nodes": spare}), 1).useful.mean() for spare in (64, 2))
    assert none < plenty - 0.05
