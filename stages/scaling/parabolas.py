"""A parabola per compute budget and the power law through their minima (3.2.1), batched over resampled sweeps.

Arrays of losses are [R, runs]: R sweeps with the same budgets, sizes and tokens. The measured sweep is one of them. The
others are resampled around its parabolas (parametric bootstrap); their spread gives the intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

KINDS = ("inner", "edge", "flat", "downward")
"""Kinds of parabolas. inner: the minimum is between the smallest and the largest run. edge: it is outside. flat: over
half of the range of runs it rises by less than their scatter, so the minimum is undetermined. downward: the parabola
opens downward. The power law uses inner minima only."""
INNER, EDGE, FLAT, DOWNWARD = range(len(KINDS))


@dataclass(frozen=True)
class SweepDesign:
    """The runs of a sweep: FLOPs and tokens of each, [runs]."""

    flops: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, points: Sequence[Mapping[str, Any]]) -> "SweepDesign":
        return cls(*(np.array([point[key] for point in points], np.float64) for key in ("flops", "tokens")))

    @cached_property
    def budgets(self) -> np.ndarray:
        """Compute budgets in ascending order, [B]."""
        return np.unique(self.flops)

    @cached_property
    def run_indices(self) -> list[np.ndarray]:
        """Indices of the runs of each budget."""
        return [np.flatnonzero(self.flops == budget) for budget in self.budgets]

    @cached_property
    def centres(self) -> np.ndarray:
        """Mean ln(tokens) of each budget, [B]: the origin of its parabola's x."""
        return np.array([np.log(self.tokens[runs]).mean() for runs in self.run_indices])

    @cached_property
    def x(self) -> np.ndarray:
        """ln(tokens) minus the budget's centre, [runs]."""
        x = np.log(self.tokens)
        for runs, centre in zip(self.run_indices, self.centres, strict=True):
            x[runs] -= centre
        return x

    @cached_property
    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest x of each budget, [B] each."""
        return (
            np.array([self.x[runs].min() for runs in self.run_indices]),
            np.array([self.x[runs].max() for runs in self.run_indices]),
        )

    @property
    def degrees_of_freedom(self) -> int:
        """Runs minus the three coefficients of each parabola."""
        return len(self.flops) - 3 * len(self.budgets)

    @cached_property
    def _inverses(self) -> list[np.ndarray]:
        return [np.linalg.pinv(np.vander(self.x[runs], 3, increasing=True)) for runs in self.run_indices]

    def fit(self, losses: np.ndarray) -> "Parabolas":
        """The least-squares parabolas of `losses` [R, runs]."""
        pairs = zip(self.run_indices, self._inverses, strict=True)
        coefficients = np.stack([losses[:, runs] @ inverse.T for runs, inverse in pairs], axis=1)
        fitted = np.empty_like(losses)
        for place, runs in enumerate(self.run_indices):
            fitted[:, runs] = coefficients[:, place] @ np.vander(self.x[runs], 3, increasing=True).T
        return Parabolas(self, coefficients, fitted, losses - fitted)


@dataclass(frozen=True)
class Parabolas:
    """loss = a + b x + c x^2 of every budget of R sweeps: coefficients [R, B, 3], fitted and residuals [R, runs]."""

    design: SweepDesign
    coefficients: np.ndarray
    fitted: np.ndarray
    residuals: np.ndarray

    @property
    def curvature(self) -> np.ndarray:
        """[R, B] nats per (ln tokens)^2."""
        return self.coefficients[:, :, 2]

    @cached_property
    def scatter(self) -> np.ndarray:
        """Standard deviation of the runs around their parabolas, pooled over the budgets, [R]."""
        return np.sqrt((self.residuals**2).sum(1) / max(1, self.design.degrees_of_freedom))

    @cached_property
    def kinds(self) -> np.ndarray:
        """Index into KINDS, [R, B]."""
        low, high = self.design.ranges
        outside = (self._offsets <= low) | (self._offsets >= high)
        rise = self.curvature * ((high - low) / 2) ** 2
        kinds = np.where(outside, EDGE, INNER)
        kinds = np.where(rise <= self.scatter[:, None], FLAT, kinds)
        return np.where(self.curvature <= 0, DOWNWARD, kinds)

    @cached_property
    def _offsets(self) -> np.ndarray:
        """x of the extremum, [R, B]; infinite if there is none."""
        b, c = self.coefficients[:, :, 1], self.curvature
        return np.where(c == 0, np.inf, -b / (2 * np.where(c == 0, 1.0, c)))

    @property
    def log_minimum(self) -> np.ndarray:
        """ln of the tokens at the minimum, [R, B]."""
        return self.design.centres + self._offsets

    @property
    def minimum_loss(self) -> np.ndarray:
        """Loss at the minimum, [R, B]."""
        a, b, _ = np.moveaxis(self.coefficients, 2, 0)
        return a + b * self._offsets / 2

    @property
    def curvature_slope(self) -> np.ndarray:
        """Change of the curvature per e-fold of compute, [R]; negative if the curves flatten (3.2.1)."""
        return fit_lines(np.log(self.design.budgets), self.curvature, np.ones_like(self.curvature))[0]

    def laws(self) -> dict[str, np.ndarray]:
        """The power laws through the inner minima, D* = A C^alpha and L* = B C^exponent, [R] each.

        `minima` counts them; a sweep with fewer than two has no law, and its values are meaningless."""
        used = self.kinds == INNER
        x = np.log(self.design.budgets)
        alpha, log_a = fit_lines(x, np.where(used, self.log_minimum, 0.0), used)
        log_minima = np.log(np.where(used & (self.minimum_loss > 0), self.minimum_loss, 1.0))
        exponent, log_loss = fit_lines(x, log_minima, used)
        return {"alpha": alpha, "log_a": log_a, "loss_exponent": exponent, "log_loss": log_loss, "minima": used.sum(1)}

    def resample(self, resamples: int, generator: np.random.Generator) -> tuple["Parabolas", np.ndarray]:
        """`resamples` sweeps drawn around the parabolas of the first one, and the scatter of each, [R].

        Each sweep draws its own scatter, since the scatter is estimated from few runs (Student's t, not normal)."""
        freedom = self.design.degrees_of_freedom
        scatter = self.scatter[0] * np.sqrt(freedom / generator.chisquare(freedom, resamples))
        noise = generator.normal(size=(resamples, len(self.design.flops)))
        return self.design.fit(self.fitted[0] + scatter[:, None] * noise), scatter


def fit_lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept, [R] each, of least-squares lines; x [B], y and weights [R, B]. One point: slope 0."""
    total = np.maximum(weights.sum(1), 1e-300)
    mean_x, mean_y = (weights * x).sum(1) / total, (weights * y).sum(1) / total
    from_mean = x - mean_x[:, None]
    spread = (weights * from_mean**2).sum(1)
    slope = (weights * from_mean * y).sum(1) / np.where(spread > 0, spread, 1.0)
    return slope, mean_y - slope * mean_x
