"""A parabola per compute budget and the power law through their minima (3.2.1), for many redrawn sweeps at once.

Arrays of losses are [R, runs]: R sweeps with the same budgets, sizes and tokens. The measured sweep is one of them; the
others are redrawn around its parabolas, and how far the results differ among them is the uncertainty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

KINDS = ("inner", "edge", "flat", "downward")
"""What a budget's parabola says of the optimum. inner: a minimum between its smallest and its largest run. edge: a
minimum beyond them. flat: over half of the runs' range it rises by less than they scatter, so that the minimum may lie
anywhere. downward: the parabola opens downwards. The power law goes through inner minima only."""
INNER, EDGE, FLAT, DOWNWARD = range(len(KINDS))


@dataclass(frozen=True)
class Design:
    """Which runs a sweep has: FLOPs and tokens of each, [runs]."""

    flops: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, points: Sequence[Mapping[str, Any]]) -> "Design":
        return cls(*(np.array([point[key] for point in points], np.float64) for key in ("flops", "tokens")))

    @cached_property
    def budgets(self) -> np.ndarray:
        """Compute budgets in ascending order, [B]."""
        return np.unique(self.flops)

    @cached_property
    def rows(self) -> list[np.ndarray]:
        """The runs of each budget."""
        return [np.flatnonzero(self.flops == budget) for budget in self.budgets]

    @cached_property
    def centres(self) -> np.ndarray:
        """Mean ln(tokens) of each budget, [B]: where its parabola's x is 0."""
        return np.array([np.log(self.tokens[rows]).mean() for rows in self.rows])

    @cached_property
    def x(self) -> np.ndarray:
        """ln(tokens) minus the budget's centre, [runs]."""
        x = np.log(self.tokens)
        for rows, centre in zip(self.rows, self.centres, strict=True):
            x[rows] -= centre
        return x

    @cached_property
    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest x of each budget, [B] each."""
        return (
            np.array([self.x[rows].min() for rows in self.rows]),
            np.array([self.x[rows].max() for rows in self.rows]),
        )

    @property
    def freedom(self) -> int:
        """Runs beyond the three that a parabola needs."""
        return len(self.flops) - 3 * len(self.budgets)

    @cached_property
    def _inverses(self) -> list[np.ndarray]:
        return [np.linalg.pinv(np.vander(self.x[rows], 3, increasing=True)) for rows in self.rows]

    def fit(self, losses: np.ndarray) -> "Parabolas":
        """The least-squares parabolas of `losses` [R, runs]."""
        per_budget = [losses[:, rows] @ inverse.T for rows, inverse in zip(self.rows, self._inverses, strict=True)]
        coefficients = np.stack(per_budget, axis=1)
        fitted = np.empty_like(losses)
        for place, rows in enumerate(self.rows):
            fitted[:, rows] = coefficients[:, place] @ np.vander(self.x[rows], 3, increasing=True).T
        return Parabolas(self, coefficients, fitted, losses - fitted)


@dataclass(frozen=True)
class Parabolas:
    """loss = a + b x + c x^2 of every budget of R sweeps: coefficients [R, B, 3], fitted and residuals [R, runs]."""

    design: Design
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
        return np.sqrt((self.residuals**2).sum(1) / max(1, self.design.freedom))

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
        """x of the extreme value, [R, B]; far outside where there is none."""
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
    def flattening(self) -> np.ndarray:
        """Change of the curvature per e-fold of compute, [R]; below 0 where the curves flatten (3.2.1)."""
        everything = np.ones_like(self.curvature)
        return line(np.log(self.design.budgets), self.curvature, everything)[0]

    def laws(self) -> dict[str, np.ndarray]:
        """The power laws through the inner minima, D* = A C^alpha and L* = B C^exponent, [R] each.

        `minima` counts them; with fewer than two a sweep has no law and its numbers mean nothing."""
        used = self.kinds == INNER
        x = np.log(self.design.budgets)
        alpha, log_a = line(x, np.where(used, self.log_minimum, 0.0), used)
        exponent, log_loss = line(x, np.log(np.where(used & (self.minimum_loss > 0), self.minimum_loss, 1.0)), used)
        return {"alpha": alpha, "log_a": log_a, "loss_exponent": exponent, "log_loss": log_loss, "minima": used.sum(1)}

    def redraw(self, resamples: int, generator: np.random.Generator) -> tuple["Parabolas", np.ndarray]:
        """`resamples` sweeps like the first one around its parabolas, and the scatter of each, [R].

        How large the scatter is is an estimate from few runs, so each sweep has one of its own (Student's t, not the
        normal)."""
        freedom = self.design.freedom
        scatter = self.scatter[0] * np.sqrt(freedom / generator.chisquare(freedom, resamples))
        noise = generator.normal(size=(resamples, len(self.design.flops)))
        return self.design.fit(self.fitted[0] + scatter[:, None] * noise), scatter


def line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of least-squares lines: x [B], y and weights [R, B]; 0 and the mean where one point is."""
    total = np.maximum(weights.sum(1), 1e-300)
    mean_x, mean_y = (weights * x).sum(1) / total, (weights * y).sum(1) / total
    from_mean = x - mean_x[:, None]
    spread = (weights * from_mean**2).sum(1)
    slope = (weights * from_mean * y).sum(1) / np.where(spread > 0, spread, 1.0)
    return slope, mean_y - slope * mean_x
