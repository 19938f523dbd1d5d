"""Least squares for many data sets at once: what scipy's least_squares does for one, in the time of one."""

from collections.abc import Callable, Sequence

import numpy as np

ITERATIONS, PATIENCE, TOLERANCE = 300, 5, 1e-8
"""It ends when nothing has improved by this share for so many iterations, or after so many."""


def least_squares(
    starts: np.ndarray,
    deviations: Callable[[np.ndarray], np.ndarray],
    slopes: Callable[[np.ndarray], np.ndarray],
    bounds: tuple[Sequence[float], Sequence[float]],
    width: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """theta [R, k] with the least sum of squared deviations, from starts [R, k], and the cost of each, [R].

    `deviations` and `slopes` map theta to [R, n] and to its derivatives [R, n, k]. A deviation beyond `width` counts by
    its size rather than its square (Huber). Levenberg-Marquardt on reweighted squares; theta stays within `bounds`.
    """
    low, high = np.array(bounds[0]), np.array(bounds[1])
    theta = starts.astype(float)
    damping = np.full(len(theta), 1e-3)

    def cost(deviation: np.ndarray) -> np.ndarray:
        size = np.abs(deviation)
        inside = np.minimum(size, width)
        return (inside**2 + np.where(size > width, 2 * inside * (size - inside), 0.0)).sum(1)

    deviation = deviations(theta)
    current = cost(deviation)
    quiet = np.zeros(len(theta), int)
    for _ in range(ITERATIONS):
        weight = np.minimum(1.0, width / np.maximum(np.abs(deviation), 1e-300))
        slope = slopes(theta)
        gradient = np.einsum("rnk,rn->rk", slope, weight * deviation)
        stuck = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        slope = np.where(stuck[:, None], 0.0, slope)
        gradient = np.where(stuck, 0.0, gradient)
        normal = np.einsum("rnk,rn,rnl->rkl", slope, weight, slope)
        diagonal = np.einsum("rkk->rk", normal)  # a view: what is added to it is added to `normal`
        diagonal += damping[:, None] * diagonal + 1e-14 + stuck
        moved = np.clip(theta - np.linalg.solve(normal, gradient[:, :, None])[:, :, 0], low, high)
        there = deviations(moved)
        new = cost(there)
        better = new < current
        quiet = np.where(better & (current - new > TOLERANCE * current), 0, quiet + 1)
        theta, deviation = np.where(better[:, None], moved, theta), np.where(better[:, None], there, deviation)
        current = np.where(better, new, current)
        damping = np.clip(np.where(better, damping / 4, damping * 4), 1e-9, 1e9)
        if (quiet >= PATIENCE).all():
            break
    return theta, current
