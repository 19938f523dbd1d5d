"""Batched nonlinear least squares: fits many data sets in about the time that scipy's least_squares needs for one."""

from collections.abc import Callable, Sequence

import numpy as np

MAX_ITERATIONS, PATIENCE, TOLERANCE = 300, 5, 1e-8
"""Stops when no cost has improved by the share TOLERANCE for PATIENCE iterations, or after MAX_ITERATIONS."""


def least_squares(
    starts: np.ndarray,
    residuals: Callable[[np.ndarray], np.ndarray],
    jacobian: Callable[[np.ndarray], np.ndarray],
    bounds: tuple[Sequence[float], Sequence[float]],
    huber_delta: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """theta [R, k] that minimizes the sum of squared residuals, from starts [R, k], and the cost of each, [R].

    `residuals` and `jacobian` map theta to [R, n] and to its derivatives [R, n, k]. Residuals above `huber_delta` count
    linearly (Huber). Levenberg-Marquardt with reweighting; theta stays within `bounds`.
    """
    low, high = np.array(bounds[0]), np.array(bounds[1])
    theta = starts.astype(float)
    damping = np.full(len(theta), 1e-3)

    def cost(residual: np.ndarray) -> np.ndarray:
        size = np.abs(residual)
        inside = np.minimum(size, huber_delta)
        return (inside**2 + np.where(size > huber_delta, 2 * inside * (size - inside), 0.0)).sum(1)

    residual = residuals(theta)
    current = cost(residual)
    stalled = np.zeros(len(theta), int)
    for _ in range(MAX_ITERATIONS):
        weight = np.minimum(1.0, huber_delta / np.maximum(np.abs(residual), 1e-300))
        slope = jacobian(theta)
        gradient = np.einsum("rnk,rn->rk", slope, weight * residual)
        at_bound = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        slope = np.where(at_bound[:, None], 0.0, slope)
        gradient = np.where(at_bound, 0.0, gradient)
        normal = np.einsum("rnk,rn,rnl->rkl", slope, weight, slope)
        diagonal = np.einsum("rkk->rk", normal)  # a view: changes `normal`
        diagonal += damping[:, None] * diagonal + 1e-14 + at_bound
        candidate = np.clip(theta - np.linalg.solve(normal, gradient[:, :, None])[:, :, 0], low, high)
        candidate_residuals = residuals(candidate)
        candidate_cost = cost(candidate_residuals)
        better = candidate_cost < current
        stalled = np.where(better & (current - candidate_cost > TOLERANCE * current), 0, stalled + 1)
        theta = np.where(better[:, None], candidate, theta)
        residual = np.where(better[:, None], candidate_residuals, residual)
        current = np.where(better, candidate_cost, current)
        damping = np.clip(np.where(better, damping / 4, damping * 4), 1e-9, 1e9)
        if (stalled >= PATIENCE).all():
            break
    return theta, current
