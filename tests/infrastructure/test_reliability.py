"""The simulated cluster against closed forms and the paper (3.3.4)."""

import math

import numpy as np
import pytest

from stages.infrastructure import paper
from stages.infrastructure.reliability import INTERRUPTIONS, MINUTES, best_checkpoint_interval, effective_time, simulate
from tests.infrastructure.cluster import CLUSTER


@pytest.mark.parametrize(
    "change", [{}, {"gpus": 131_072, "days": 10}, {"checkpoint_minutes": 40, "restart_minutes": 30}]
)
def test_the_simulation_agrees_with_the_closed_form_where_spare_nodes_abound(change: dict) -> None:
    """Daly's form knows interruptions during a restart; where they are many only a simulation that has them agrees."""
    options = CLUSTER.model_copy(update={"spare_nodes": 100_000, "runs": 200} | change)
    result = simulate(options, seed=3)
    expected = effective_time(options.failure_rate, options.checkpoint_days, options.write_days, options.down_days)
    assert result.useful.mean() == pytest.approx(expected, abs=4 * result.useful.std() / math.sqrt(options.runs))
    assert result.by_kind["waiting for a node"].max() == 0


def test_every_minute_of_a_simulated_run_goes_somewhere() -> None:
    result = simulate(CLUSTER.model_copy(update={"spare_nodes": 2}), seed=5)
    assert result.useful + sum(result.by_kind.values()) == pytest.approx(np.ones(CLUSTER.runs), abs=1e-9)
    interruptions = sum(shares for kind, shares in result.by_kind.items() if kind != "checkpoints")
    assert sum(result.by_cause.values()) == pytest.approx(interruptions, abs=1e-9)
    assert result.by_kind["waiting for a node"].mean() > 0


def test_causes_cost_by_their_counts_and_detection_and_restart_by_their_minutes() -> None:
    options = CLUSTER.model_copy(update={"spare_nodes": 100_000})
    result = simulate(options, seed=4)
    by_count = np.corrcoef(
        [result.by_cause[c].mean() for c in result.by_cause], [INTERRUPTIONS[c][0] for c in result.by_cause]
    )[0, 1]
    assert by_count > 0.99
    assert result.by_kind["detection"].mean() / result.by_kind["restart"].mean() == pytest.approx(3 / 5, rel=0.03)
    # A failure falls anywhere between two checkpoints: half an interval is lost on the average.
    assert result.by_kind["lost work"].mean() == pytest.approx(options.failure_rate * 5 * MINUTES, rel=0.05)
    at_once = simulate(options.model_copy(update={"detect_minutes": 0}), seed=4)
    assert at_once.useful.mean() > result.useful.mean() + 0.9 * options.failure_rate * 3 * MINUTES
    assert at_once.by_kind["detection"].max() == 0


def test_over_ninety_percent_at_the_papers_rate() -> None:
    """3.3.4: over 90% effective training time at one interruption in 3.1 hours."""
    result = paper.simulate_reliability(CLUSTER, seed=1)
    assert result["effective_time"]["low"] > 0.9
    falling = [row["effective_at_best"] for row in result["by_gpus"]]
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.6
    assert all(row["effective_at_best"] >= row["effective"] for row in result["by_gpus"])


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
