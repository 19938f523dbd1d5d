"""The parametric law L(N, D) = E + A / N^a + B / D^b through all runs of the sweep: a cross-check of the power law.

The paper (3.2.1) fits minima of parabolas; this is approach 3 of Hoffmann et al. (2022, Chinchilla). It has a loss that
no model goes below, which a power law through the minima lacks, so the loss it predicts far beyond the sweep is the one
that is held against what the herd reaches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from scipy.optimize import least_squares

from stages.statistics import middle

HUBER = 0.01
"""Deviation in ln(loss) beyond which a run counts less (assumption; Hoffmann et al. take 0.001 of many more runs)."""
LOWEST, HIGHEST = (-3.0, -5.0, -5.0, 0.05, 0.05), (np.inf, 60.0, 60.0, 2.0, 2.0)
"""Bounds of (ln E, ln A, ln B, a, b)."""
STARTS = tuple(product((-0.5, 0.5), (2.0, 8.0), (2.0, 8.0), (0.2, 0.6), (0.2, 0.6)))


@dataclass(frozen=True)
class Parametric:
    """The five numbers of the law, as (ln E, ln A, ln B, a, b)."""

    theta: tuple[float, ...]

    @classmethod
    def fit(cls, parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray, start: Self | None = None) -> Self:
        """Least Huber-weighted squares of ln(loss); all arrays [runs]. From `start`, else from a grid of starts."""

        def deviations(theta: np.ndarray) -> np.ndarray:
            return _log_loss(theta, parameters, tokens) - np.log(losses)

        best = None
        for guess in [start.theta] if start else STARTS:
            inside = np.clip(guess, np.array(LOWEST) + 1e-6, np.array(HIGHEST) - 1e-6)
            found = least_squares(
                deviations, inside, jac=lambda theta: _slopes(theta, parameters, tokens), bounds=(LOWEST, HIGHEST),
                loss="huber", f_scale=HUBER, max_nfev=200,
            )  # fmt: skip
            if best is None or found.cost < best.cost:
                best = found
        assert best is not None
        return cls(tuple(map(float, best.x)))

    def loss(self, parameters: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        """Nats per token of models of so many parameters after so many tokens."""
        return np.exp(_log_loss(np.array(self.theta), np.asarray(parameters), np.asarray(tokens)))

    @property
    def numbers(self) -> dict[str, float]:
        """E, A, B, a, b, and the exponent of the optimal tokens over compute, which the parabolas estimate as alpha."""
        e, a, b, alpha, beta = self.theta
        return {
            "irreducible": float(np.exp(e)), "a": float(np.exp(a)), "b": float(np.exp(b)),
            "parameters_exponent": alpha, "tokens_exponent": beta, "alpha": alpha / (alpha + beta),
        }  # fmt: skip


def fit_parametric(
    points: Sequence[Mapping[str, Any]], members: Mapping[str, tuple[int, float]], resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The law's numbers, and the loss it predicts for each member (parameters, tokens), with 95% intervals.

    Intervals: the deviations in ln(loss) are drawn anew around the law, their size with Student's uncertainty, and
    everything is fitted again; a prediction has a run's own scatter on top.
    """
    sizes, tokens, losses = (np.array([p[key] for p in points], float) for key in ("parameters", "tokens", "loss"))
    law = Parametric.fit(sizes, tokens, losses)
    fitted = law.loss(sizes, tokens)
    freedom = max(1, len(points) - len(law.theta))
    noise = float(np.sqrt(np.sum(np.log(losses / fitted) ** 2) / freedom))
    generator = np.random.default_rng(seed)
    draws: list[dict[str, float]] = []
    predicted: dict[str, list[float]] = {name: [] for name in members}
    for _ in range(resamples):
        size = noise * float(np.sqrt(freedom / generator.chisquare(freedom)))
        again = Parametric.fit(sizes, tokens, fitted * np.exp(generator.normal(0, size, len(points))), law)
        draws.append(again.numbers)
        for name, shape in members.items():
            predicted[name].append(float(again.loss(*shape) * np.exp(generator.normal(0, size))))
    n = len(points)
    numbers = {name: {"value": value, **middle([draw[name] for draw in draws]), "n": n}
               for name, value in law.numbers.items()}  # fmt: skip
    losses_of = {name: {"value": float(law.loss(*shape)), **middle(predicted[name]), "n": n}
                 for name, shape in members.items()}  # fmt: skip
    return {**numbers, "residual": noise}, losses_of


def _log_loss(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    e, a, b, alpha, beta = theta
    return np.logaddexp(e, np.logaddexp(a - alpha * np.log(parameters), b - beta * np.log(tokens)))


def _slopes(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[runs, 5]: derivatives of ln(loss); each term's is its share of the loss."""
    e, a, b, alpha, beta = theta
    whole = _log_loss(theta, parameters, tokens)
    first = np.exp(a - alpha * np.log(parameters) - whole)
    second = np.exp(b - beta * np.log(tokens) - whole)
    share = np.exp(e - whole)
    return np.stack([share, first, second, -first * np.log(parameters), -second * np.log(tokens)], axis=1)
