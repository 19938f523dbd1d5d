"""The effects of an ablation: differences between variants, paired by seed, with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages import statistics
from stages.interface import Metrics

Values = dict[str, Any]
NATS = "nats per token"
PERCENTAGE_POINTS = "percentage points"


def values_of(runs: Sequence[Values], variant: str, metric: str) -> np.ndarray:
    """A metric of one variant's runs, in the order of their seeds, [seeds]."""
    return np.array([run[metric] for run in sorted(runs, key=lambda run: run["seed"]) if run["variant"] == variant])


@dataclass(frozen=True)
class Effect:
    """A number of the ledger: what is compared, its unit, and how the runs give it with its interval."""

    quantity: str
    unit: str
    estimate: Callable[[Sequence[Values]], Mapping[str, float]]


def difference(quantity: str, first: str, second: str, metric: str = "loss", unit: str = NATS) -> Effect:
    """Variant `first` minus variant `second`, paired by seed, with Student's interval over the seeds."""

    def estimate(runs: Sequence[Values]) -> dict[str, float]:
        return statistics.mean_over_seeds(values_of(runs, first, metric) - values_of(runs, second, metric))

    return Effect(quantity, unit, estimate)


def fixed(quantity: str, unit: str, interval: Mapping[str, float]) -> Effect:
    """An interval that was computed before."""
    return Effect(quantity, unit, lambda runs: interval)


def exact(quantity: str, unit: str, value: float, n: int) -> Effect:
    """A value without uncertainty, as an interval of width 0."""
    return fixed(quantity, unit, {"value": value, "low": value, "high": value, "n": n})


def over_seeds(quantity: str, unit: str, values: np.ndarray) -> Effect:
    """The mean of values [seeds], with Student's interval."""
    return fixed(quantity, unit, statistics.mean_over_seeds(values))


def make_metrics(runs: Sequence[Values], effect: Effect, secondary: Sequence[Effect], configuration: Values) -> Metrics:
    """An ablation's metrics: its effect, secondary effects, every run, and what determines the results."""
    values = [{"quantity": each.quantity, "unit": each.unit, **each.estimate(runs)} for each in (effect, *secondary)]
    return {"effect": values[0], "secondary": values[1:], "runs": list(runs), "configuration": configuration}
