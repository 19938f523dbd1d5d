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

from stages.scaling.least_squares import least_squares
from stages.statistics import percentile_interval

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
    def fit(cls, parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> Self:
        """Least Huber-weighted squares of ln(loss), the best from a grid of starts; all arrays [runs]."""
        thetas, costs = refit(np.array(STARTS), parameters, tokens, np.tile(np.log(losses), (len(STARTS), 1)))
        return cls(tuple(map(float, thetas[costs.argmin()])))

    def loss(self, parameters: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        """Nats per token of models of so many parameters after so many tokens."""
        return np.exp(_log_loss(np.array(self.theta), np.asarray(parameters), np.asarray(tokens)))

    @property
    def numbers(self) -> dict[str, float]:
        """E, A, B, a, b, and the exponent of the optimal tokens over compute, which the parabolas estimate as alpha."""
        e, a, b, alpha, beta = self.theta
        return {
            "irreducible": float(np.exp(e)),
            "a": float(np.exp(a)),
            "b": float(np.exp(b)),
            "parameters_exponent": alpha,
            "tokens_exponent": beta,
            "alpha": alpha / (alpha + beta),
        }


@dataclass(frozen=True)
class Laws:
    """The law of a sweep, and of `resamples` sweeps redrawn around it: theta [R, 5], scatter in ln(loss) [R].

    How large the scatter is is an estimate from few runs, so each redrawn sweep has one of its own (Student's t)."""

    best: Parametric
    runs: int
    scatter: float
    thetas: np.ndarray
    scatters: np.ndarray
    noise: np.ndarray
    """[R] standard normal: where a new run lies around each redrawn law."""

    @classmethod
    def fit(cls, points: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Self:
        """The law through all runs of a sweep."""
        sizes, tokens, losses = (np.array([p[key] for p in points], float) for key in ("parameters", "tokens", "loss"))
        law = Parametric.fit(sizes, tokens, losses)
        fitted = law.loss(sizes, tokens)
        freedom = max(1, len(points) - len(law.theta))
        scatter = float(np.sqrt(np.sum(np.log(losses / fitted) ** 2) / freedom))
        generator = np.random.default_rng(seed)
        scatters = scatter * np.sqrt(freedom / generator.chisquare(freedom, resamples))
        redrawn = np.log(fitted) + scatters[:, None] * generator.normal(size=(resamples, len(points)))
        thetas, _ = refit(np.tile(law.theta, (resamples, 1)), sizes, tokens, redrawn)
        return cls(law, len(points), scatter, thetas, scatters, generator.normal(size=resamples))

    def numbers(self) -> dict[str, Any]:
        """E, A, B and the exponents with their intervals, and the scatter of the runs around the law."""
        draws = [Parametric(tuple(theta)).numbers for theta in self.thetas]
        found = {
            name: {"value": value, **percentile_interval([draw[name] for draw in draws]), "n": self.runs}
            for name, value in self.best.numbers.items()
        }
        return {**found, "residual": self.scatter}

    def predict(self, parameters: float, tokens: float) -> dict[str, float]:
        """Loss of one new run of this shape, with the 95% band of the law and the run's own scatter."""
        draws = self._losses(parameters, tokens) * np.exp(self.scatters * self.noise)
        return {"value": float(self.best.loss(parameters, tokens)), **percentile_interval(draws), "n": self.runs}

    def difference(self, parameters: tuple[float, float], tokens: tuple[float, float]) -> dict[str, float]:
        """Expected loss of the first shape minus that of the second."""
        first, second = (float(self.best.loss(n, d)) for n, d in zip(parameters, tokens, strict=True))
        draws = self._losses(parameters[0], tokens[0]) - self._losses(parameters[1], tokens[1])
        return {"value": first - second, **percentile_interval(draws), "n": self.runs}

    def _losses(self, parameters: float, tokens: float) -> np.ndarray:
        """[R] what each redrawn law says."""
        return np.exp(_log_loss(self.thetas.T[:, :, None], np.array([parameters]), np.array([tokens]))[:, 0])


def refit(
    starts: np.ndarray, parameters: np.ndarray, tokens: np.ndarray, log_losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Laws through log_losses [R, runs] from starts [R, 5]: theta [R, 5], and the cost of each, [R]."""
    return least_squares(
        starts,
        lambda theta: _log_loss(theta.T[:, :, None], parameters, tokens) - log_losses,
        lambda theta: _slopes(theta.T[:, :, None], parameters, tokens),
        (LOWEST, HIGHEST),
        HUBER,
    )


def _log_loss(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """theta [5] or, of many laws, [5, R, 1] -> [runs] or [R, runs]."""
    e, a, b, alpha, beta = theta
    return np.logaddexp(e, np.logaddexp(a - alpha * np.log(parameters), b - beta * np.log(tokens)))


def _slopes(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[runs, 5] or [R, runs, 5]: derivatives of ln(loss); each term's is its share of the loss."""
    e, a, b, alpha, beta = theta
    whole = _log_loss(theta, parameters, tokens)
    first = np.exp(a - alpha * np.log(parameters) - whole)
    second = np.exp(b - beta * np.log(tokens) - whole)
    share = np.exp(e - whole)
    return np.stack([share, first, second, -first * np.log(parameters), -second * np.log(tokens)], axis=-1)
