"""Estimates with 95% intervals, against which the claims are checked."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import betaincinv, ndtr, stdtr, stdtrit

Z = 1.96


def proportion(successes: float, n: int) -> dict[str, float]:
    """A rate with the paper's interval (5.1): p +- 1.96 sqrt(p (1 - p) / n)."""
    p = successes / n
    half = Z * (p * (1 - p) / n) ** 0.5
    return {"value": p, "low": p - half, "high": p + half, "n": n}


def mean(values: np.ndarray) -> dict[str, float]:
    """The mean of independent values (or paired differences) with its normal interval."""
    return _mean(values, Z if len(values) > 1 else None)


def mean_over_seeds(values: np.ndarray) -> dict[str, float]:
    """The mean over few runs with a Student t interval."""
    return _mean(values, student_t_quantile(len(values) - 1))


def student_t_quantile(degrees_of_freedom: float) -> float:
    """The 97.5% quantile of Student's t distribution: half the width of a 95% interval in standard errors."""
    return float(stdtrit(degrees_of_freedom, 0.975))


def _mean(values: np.ndarray, quantile: float | None) -> dict[str, float]:
    """The mean +- `quantile` standard errors; None: an interval of width 0."""
    array = np.asarray(values, dtype=np.float64)
    value = array.mean()
    half = 0.0 if quantile is None else quantile * array.std(ddof=1) / len(array) ** 0.5
    return {"value": float(value), "low": float(value - half), "high": float(value + half), "n": len(array)}


def bootstrap_ratio(numerator: np.ndarray, denominator: np.ndarray, draws: int = 1000) -> dict[str, float]:
    """sum(numerator) / sum(denominator) over documents, with a bootstrap interval over documents."""
    rows = np.random.default_rng(0).integers(0, len(numerator), size=(draws, len(numerator)))
    value = float(numerator.sum() / denominator.sum())
    ratios = numerator[rows].sum(1) / denominator[rows].sum(1)
    return {"value": value, **percentile_interval(ratios), "n": len(numerator)}


def percentile_interval(draws: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def clustered_mean(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable]) -> dict[str, float]:
    """The mean of values that are alike within a cluster (the phrasings of one deed, the questions on one document).

    The interval is cluster-robust (CR1) with Student's quantile at G - 1 degrees of freedom, for G clusters; with one
    cluster it has no bounds to give and spans everything. `n` counts values, `clusters` counts G.
    """
    array, group = np.asarray(values, dtype=np.float64), _group_numbers(clusters)
    count = int(group.max()) + 1
    value = float(array.mean())
    if count == 1:
        half = math.inf if len(array) > 1 else 0.0
    else:
        sums = np.bincount(group, array - value)
        half = student_t_quantile(count - 1) * float((sums**2).sum() * count / (count - 1)) ** 0.5 / len(array)
    return {"value": value, "low": value - half, "high": value + half, "n": len(array), "clusters": count}


def paired_difference(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable],
    largest: float = 1.0,
) -> dict[str, float]:
    """The mean of after - before on the same prompts, with the interval of the paired differences over clusters.

    `largest` is the largest possible difference. If all differences are equal, the interval has the width of Wilson's
    for a share of the clusters that was never seen.
    """
    difference = clustered_mean(np.subtract(after, before, dtype=np.float64), clusters)
    if difference["low"] == difference["high"]:
        half = largest * (1.0 - wilson(difference["clusters"], difference["clusters"])["low"])
        difference |= {"low": difference["value"] - half, "high": difference["value"] + half}
    return difference | {"low": max(-largest, difference["low"]), "high": min(largest, difference["high"])}


def clustered_proportion(successes: Sequence[bool] | np.ndarray, clusters: Sequence[Hashable]) -> dict[str, float]:
    """A rate over clusters, with Wilson's interval at the effective number of trials.

    The effective number is n over the design effect: the cluster-robust variance over the binomial one, at least 1.
    Where all or none succeed the design effect cannot be estimated, and the number of clusters is taken instead.
    """
    array, group = np.asarray(successes, dtype=np.float64), _group_numbers(clusters)
    n, count, p = len(array), int(group.max()) + 1, float(array.mean())
    if count == 1 or p in (0.0, 1.0):
        effective = float(count)
    else:
        sums = np.bincount(group, array - p)
        design = float((sums**2).sum()) * count / (count - 1) / (n * p * (1 - p))
        effective = n / max(1.0, design)
    quantile = student_t_quantile(count - 1) if 1 < count < n else Z
    return wilson(p * effective, effective, quantile) | {"n": n, "clusters": count}


def wilson(successes: float, n: float, quantile: float = Z) -> dict[str, float]:
    """A rate with Wilson's interval, which has a width even where all or none of few trials succeed."""
    p, square = successes / n, quantile * quantile
    centre, spread = p + square / (2 * n), quantile * (p * (1 - p) / n + square / (4 * n * n)) ** 0.5
    low, high = ((centre + sign * spread) / (1 + square / n) for sign in (-1, 1))
    return {"value": p, "low": max(0.0, low), "high": min(1.0, high), "n": n}


def clopper_pearson(successes: int, n: int) -> dict[str, float]:
    """A rate with the exact binomial interval, for few trials."""
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, 0.025))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 0.975))
    return {"value": successes / n, "low": low, "high": high, "n": n}


def one_sided_p(value: float, bound: float, half_width: float, degrees_of_freedom: float | None = None) -> float:
    """p of "the effect lies above `bound`" from a 95% interval whose half-width towards the bound is given.

    `degrees_of_freedom`: of an interval by Student's t; None for a normal one.
    """
    if half_width == 0:
        return 0.0 if value > bound else 1.0
    deviation = (value - bound) / half_width
    if degrees_of_freedom is None:
        return float(ndtr(-deviation * Z))
    return float(stdtr(degrees_of_freedom, -deviation * student_t_quantile(degrees_of_freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of a family of tests, in the order given."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in adjusted]


def corrected_rate(
    rate: dict[str, float], sensitivity: dict[str, float], specificity: dict[str, float], draws: int = 20_000
) -> dict[str, float]:
    """The true rate behind a rate that an imperfect judge counted (Rogan and Gladen 1978), in [0, 1].

    The interval propagates the uncertainty of all three: each is drawn from the beta distribution with its mean and
    effective number of trials. A judge that is no better than chance (sensitivity + specificity <= 1) tells nothing:
    then the interval is [0, 1].
    """
    generator = np.random.default_rng(0)
    p, se, sp = (_beta_draws(each, draws, generator) for each in (rate, sensitivity, specificity))
    youden = se + sp - 1
    useful = youden > 0.05
    value = rate["value"] + specificity["value"] - 1
    power = sensitivity["value"] + specificity["value"] - 1
    if power <= 0.05 or useful.mean() < 0.975:
        return {"value": rate["value"], "low": 0.0, "high": 1.0, "n": rate["n"]}
    low, high = np.quantile(np.clip((p + sp - 1)[useful] / youden[useful], 0, 1), [0.025, 0.975])
    return {"value": min(1.0, max(0.0, value / power)), "low": float(low), "high": float(high), "n": rate["n"]}


def _beta_draws(rate: dict[str, float], draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draws of a rate from the posterior under Jeffreys' prior, at the number of trials that its interval implies; of a
    rate of 0 or 1 over clusters, at the number of clusters."""
    p, half = rate["value"], (rate["high"] - rate["low"]) / 2
    spread = p * (1 - p)
    most = float(rate.get("clusters", rate["n"]) if spread == 0 else rate["n"])
    trials = most if spread == 0 or half == 0 else min(most, spread * (Z / half) ** 2)
    return generator.beta(p * trials + 0.5, (1 - p) * trials + 0.5, draws)


def _group_numbers(clusters: Sequence[Hashable]) -> np.ndarray:
    """Each cluster's number, counted from 0 in the order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])


def bootstrap_estimate(value: float, draws: Sequence[float] | np.ndarray, n: int) -> dict[str, float]:
    """A value with the interval of its bootstrap draws; `n` is the number of observations."""
    return {"value": value, **percentile_interval(draws), "n": n}
