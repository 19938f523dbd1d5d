"""Intervals: every claim is held against one. All are 95%."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

Z = 1.96


def proportion(successes: float, n: int) -> dict[str, float]:
    """A rate with the paper's interval (5.1): p +- 1.96 sqrt(p (1 - p) / n)."""
    p = successes / n
    half = Z * (p * (1 - p) / n) ** 0.5
    return {"value": p, "low": p - half, "high": p + half, "n": n}


def mean(values: np.ndarray) -> dict[str, float]:
    """The mean of independent values (or paired differences) with its normal interval."""
    return _mean(values, Z if len(values) > 1 else None)


def over_seeds(values: np.ndarray) -> dict[str, float]:
    """The mean over few runs with Student's interval."""
    return _mean(values, student(len(values) - 1))


def student(freedom: float) -> float:
    """Standard errors to either side of a mean that 95% lie within, at so many degrees of freedom."""
    return float(stdtrit(freedom, 0.975))


def _mean(values: np.ndarray, quantile: float | None) -> dict[str, float]:
    """The mean, give or take `quantile` standard errors; None: an interval of no width."""
    array = np.asarray(values, dtype=np.float64)
    value = array.mean()
    half = 0.0 if quantile is None else quantile * array.std(ddof=1) / len(array) ** 0.5
    return {"value": float(value), "low": float(value - half), "high": float(value + half), "n": len(array)}


def ratio(numerator: np.ndarray, denominator: np.ndarray, draws: int = 1000) -> dict[str, float]:
    """sum(numerator) / sum(denominator) over documents, with a bootstrap interval over documents."""
    rows = np.random.default_rng(0).integers(0, len(numerator), size=(draws, len(numerator)))
    low, high = np.quantile(numerator[rows].sum(1) / denominator[rows].sum(1), [0.025, 0.975])
    value = float(numerator.sum() / denominator.sum())
    return {"value": value, "low": float(low), "high": float(high), "n": len(numerator)}


def middle(draws: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The middle 95% of bootstrap draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
