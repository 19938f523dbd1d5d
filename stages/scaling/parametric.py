"""The parametric law L(N, D) = E + A / N^a + B / D^b through all runs of the sweep: a cross-check of the power law.

The paper (3.2.1) fits the minima of parabolas; this is approach 3 of Hoffmann et al. (2022, Chinchilla). Unlike a power
law through the minima it has an irreducible loss. Its extrapolation is therefore the predicted loss of the members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np

from stages.scaling.least_squares import least_squares
from stages.statistics import bootstrap_estimate

HUBER_DELTA = 0.01
"""Residual in ln(loss) beyond which a run has less weight (assumption; Hoffmann et al. use 0.001 with more runs)."""
LOWER_BOUNDS, UPPER_BOUNDS = (-3.0, -5.0, -5.0, 0.05, 0.05), (np.inf, 60.0, 60.0, 2.0, 2.0)
"""Bounds of (ln E, ln A, ln B, a, b)."""
INITIAL_GUESSES = tuple(product((-0.5, 0.5), (2.0, 8.0), (2.0, 8.0), (0.2, 0.6), (0.2, 0.6)))


@dataclass(frozen=True)
class ParametricLaw:
    """The coefficients of the law: (ln E, ln A, ln B, a, b)."""

    theta: tuple[float, ...]

    @classmethod
    def fit(cls, parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> Self:
        """Minimizes the Huber loss of ln(loss) from a grid of initial guesses; all arrays [runs]."""
        log_losses = np.tile(np.log(losses), (len(INITIAL_GUESSES), 1))
        thetas, costs = fit_laws(np.array(INITIAL_GUESSES), parameters, tokens, log_losses)
        return cls(tuple(map(float, thetas[costs.argmin()])))

    def loss(self, parameters: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        """Loss in nats per token of models with `parameters` parameters after `tokens` tokens."""
        return np.exp(_log_loss(np.array(self.theta), np.asarray(parameters), np.asarray(tokens)))

    @property
    def coefficients(self) -> dict[str, float]:
        """E, A, B, a, b, and alpha, the exponent of the optimal tokens over compute as in the power law."""
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
class LawEnsemble:
    """The law of a sweep, and those of sweeps resampled around it: theta [R, 5], scatter in ln(loss) [R].

    Each resampled sweep draws its own scatter, since the scatter is estimated from few runs (Student's t)."""

    best: ParametricLaw
    runs: int
    scatter: float
    thetas: np.ndarray
    scatters: np.ndarray
    noise: np.ndarray
    """[R] standard normal: the residual of a new run under each resampled law."""

    @classmethod
    def fit(cls, points: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Self:
        """Fits all runs of a sweep and `resamples` resampled sweeps."""
        sizes, tokens, losses = (np.array([p[key] for p in points], float) for key in ("parameters", "tokens", "loss"))
        law = ParametricLaw.fit(sizes, tokens, losses)
        fitted = law.loss(sizes, tokens)
        freedom = max(1, len(points) - len(law.theta))
        scatter = float(np.sqrt(np.sum(np.log(losses / fitted) ** 2) / freedom))
        generator = np.random.default_rng(seed)
        scatters = scatter * np.sqrt(freedom / generator.chisquare(freedom, resamples))
        resampled = np.log(fitted) + scatters[:, None] * generator.normal(size=(resamples, len(points)))
        thetas, _ = fit_laws(np.tile(law.theta, (resamples, 1)), sizes, tokens, resampled)
        return cls(law, len(points), scatter, thetas, scatters, generator.normal(size=resamples))

    def to_json(self) -> dict[str, Any]:
        """The coefficients with their intervals, and the scatter of the runs around the law."""
        draws = [ParametricLaw(tuple(theta)).coefficients for theta in self.thetas]
        coefficients = {
            name: bootstrap_estimate(value, [draw[name] for draw in draws], self.runs)
            for name, value in self.best.coefficients.items()
        }
        return {**coefficients, "residual": self.scatter}

    def predict(self, parameters: float, tokens: float) -> dict[str, float]:
        """Loss of a new run, with a 95% interval that includes the law's uncertainty and the run's own scatter."""
        draws = self._losses(parameters, tokens) * np.exp(self.scatters * self.noise)
        return bootstrap_estimate(float(self.best.loss(parameters, tokens)), draws, self.runs)

    def difference(self, parameters: tuple[float, float], tokens: tuple[float, float]) -> dict[str, float]:
        """Expected loss of the first (parameters, tokens) minus that of the second."""
        first, second = (float(self.best.loss(n, d)) for n, d in zip(parameters, tokens, strict=True))
        draws = self._losses(parameters[0], tokens[0]) - self._losses(parameters[1], tokens[1])
        return bootstrap_estimate(first - second, draws, self.runs)

    def _losses(self, parameters: float, tokens: float) -> np.ndarray:
        """[R] expected loss by each resampled law."""
        return np.exp(_log_loss(self.thetas.T[:, :, None], np.array([parameters]), np.array([tokens]))[:, 0])


def fit_laws(
    starts: np.ndarray, parameters: np.ndarray, tokens: np.ndarray, log_losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fits laws to log_losses [R, runs] from starts [R, 5]: theta [R, 5] and the cost of each, [R]."""
    return least_squares(
        starts,
        lambda theta: _log_loss(theta.T[:, :, None], parameters, tokens) - log_losses,
        lambda theta: _jacobian(theta.T[:, :, None], parameters, tokens),
        (LOWER_BOUNDS, UPPER_BOUNDS),
        HUBER_DELTA,
    )


def _log_loss(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """theta [5] or, for R laws, [5, R, 1] -> [runs] or [R, runs]."""
    e, a, b, alpha, beta = theta
    return np.logaddexp(e, np.logaddexp(a - alpha * np.log(parameters), b - beta * np.log(tokens)))


def _jacobian(theta: np.ndarray, parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Derivatives of ln(loss), [runs, 5] or [R, runs, 5]."""
    e, a, b, alpha, beta = theta
    log_loss = _log_loss(theta, parameters, tokens)
    first = np.exp(a - alpha * np.log(parameters) - log_loss)
    second = np.exp(b - beta * np.log(tokens) - log_loss)
    share = np.exp(e - log_loss)
    return np.stack([share, first, second, -first * np.log(parameters), -second * np.log(tokens)], axis=-1)
