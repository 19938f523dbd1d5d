"""Intervals cover what they say they cover, also where prompts come in clusters and the judge makes mistakes."""

import numpy as np
import pytest
from scipy.stats import binomtest

from stages import statistics


def _planted(generator: np.random.Generator, clusters: int, size: int, rate: float, spread: float) -> np.ndarray:
    """Trials [clusters, size] whose rates differ between clusters: a beta distribution with the mean `rate`."""
    concentration = 1 / spread - 1  # `spread` is the correlation of two trials of a cluster
    own = generator.beta(rate * concentration, (1 - rate) * concentration, size=(clusters, 1))
    return generator.random((clusters, size)) < own


@pytest.mark.parametrize(("clusters", "size", "rate"), [(64, 4, 0.3), (30, 4, 0.15), (100, 3, 0.5)])
def test_intervals_over_planted_clusters_cover_95_percent(clusters: int, size: int, rate: float) -> None:
    generator, names = np.random.default_rng(1), np.repeat(np.arange(clusters), size)
    covered, naive = [], []
    for _ in range(2000):
        trials = _planted(generator, clusters, size, rate, spread=0.4).ravel()
        found = statistics.clustered_proportion(trials, names.tolist())
        covered.append(found["low"] <= rate <= found["high"])
        plain = statistics.wilson(float(trials.sum()), len(trials))
        naive.append(plain["low"] <= rate <= plain["high"])
    assert 0.935 < np.mean(covered) < 0.975
    assert np.mean(naive) < 0.90  # what treating the phrasings of a deed as independent would claim


def test_paired_differences_over_planted_clusters_cover_95_percent() -> None:
    generator, names = np.random.default_rng(2), np.repeat(np.arange(40), 4).tolist()
    covered = []
    for _ in range(2000):
        shared = generator.normal(0, 1, size=(40, 1))
        differences = (0.2 + shared + generator.normal(0, 1, size=(40, 4))).ravel()
        found = statistics.clustered_mean(differences, names)
        covered.append(found["low"] <= 0.2 <= found["high"])
    assert 0.935 < np.mean(covered) < 0.965


def test_clusters_of_one_give_the_plain_intervals() -> None:
    trials = [True] * 12 + [False] * 28
    found, plain = statistics.clustered_proportion(trials, range(40)), statistics.wilson(12, 40)
    assert found["low"] == pytest.approx(plain["low"], abs=0.01) and found["clusters"] == 40
    values = np.random.default_rng(0).normal(size=400)
    clustered, independent = statistics.clustered_mean(values, range(400)), statistics.mean(values)
    assert clustered["high"] == pytest.approx(independent["high"], abs=1e-3)


def test_no_success_leaves_an_upper_bound_by_clusters() -> None:
    found = statistics.clustered_proportion([False] * 80, [number // 4 for number in range(80)])
    assert found["low"] == pytest.approx(0.0) and found["high"] == pytest.approx(
        statistics.wilson(0, 20)["high"], abs=0.03
    )


def test_wilson_equals_scipy() -> None:
    for k, n in [(0, 7), (3, 20), (50, 50)]:
        expected = binomtest(k, n).proportion_ci(method="wilson")
        found = statistics.wilson(k, n)
        assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_equal_differences_have_a_width() -> None:
    before, after = [True] * 30, [False] * 30
    found = statistics.paired_difference(before, after, [number // 3 for number in range(30)])
    assert (found["value"], found["low"], found["clusters"]) == (-1.0, -1.0, 10)
    assert found["high"] == pytest.approx(-statistics.wilson(10, 10)["low"])
    assert statistics.paired_difference([1.0, 0.0], [0.0, 3.0], ["a", "a"], largest=4.0)["high"] == 4.0


def test_clopper_pearson_equals_scipy() -> None:
    for successes, n in ((0, 5), (4, 4), (3, 10)):
        exact = binomtest(successes, n).proportion_ci(method="exact")
        found = statistics.clopper_pearson(successes, n)
        assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high))
    assert statistics.clopper_pearson(4, 4)["low"] < 0.5  # 4 of 4 do not show "more than half"


def test_holm_on_a_worked_example() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]


def test_a_rate_is_corrected_for_its_judge() -> None:
    """Simulated: 30% violations, a judge with sensitivity 0.9 and specificity 0.8, each measured on 150 answers."""
    generator, covered = np.random.default_rng(3), []
    for _ in range(200):
        true = generator.random(300) < 0.3
        counted = np.where(true, generator.random(300) < 0.9, generator.random(300) < 0.2)
        sensitivity = statistics.wilson(generator.binomial(150, 0.9), 150)
        specificity = statistics.wilson(generator.binomial(150, 0.8), 150)
        found = statistics.corrected_rate(statistics.wilson(counted.sum(), 300), sensitivity, specificity, draws=4000)
        covered.append(found["low"] <= 0.3 <= found["high"])
    assert 0.91 < np.mean(covered) <= 0.99
    useless = statistics.wilson(75, 150)
    found = statistics.corrected_rate(statistics.wilson(100, 300), useless, useless)
    assert (found["low"], found["high"]) == (0.0, 1.0)
