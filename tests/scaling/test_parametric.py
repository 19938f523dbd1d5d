"""The parametric law: known numbers come back, intervals hold them, its optimum is the report's."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from stages.report.figures.scaling import compute_optimal_loss
from stages.scaling.parametric import HUBER_DELTA, LOWER_BOUNDS, UPPER_BOUNDS, LawEnsemble, ParametricLaw

CHINCHILLA = ParametricLaw((np.log(1.69), np.log(406.4), np.log(410.7), 0.34, 0.28))


def sweep(noise: float, seed: int = 0) -> list[dict[str, Any]]:
    """Five sizes around the optimum of each of five budgets, losses of Hoffmann et al.'s law times exp(noise)."""
    generator = np.random.default_rng(seed)
    rows = []
    for flops in (6e18, 3e19, 1e20, 6e20, 3e21):
        for parameters in (flops / 120) ** 0.5 * np.geomspace(0.3, 3, 5):
            tokens = flops / 6 / parameters
            loss = float(CHINCHILLA.loss(parameters, tokens)) * float(np.exp(generator.normal(0, noise)))
            rows.append({"flops": flops, "parameters": parameters, "tokens": tokens, "loss": loss})
    return rows


def test_without_noise_the_law_comes_back() -> None:
    laws = LawEnsemble.fit(sweep(0.0), 2, seed=1)
    result = laws.to_json()
    for name, value in CHINCHILLA.coefficients.items():
        assert result[name]["value"] == pytest.approx(value, rel=1e-3), name
    assert laws.predict(70e9, 1.4e12)["value"] == pytest.approx(1.937, abs=1e-3)  # by hand: 1.69 + 0.083 + 0.163
    assert result["residual"] < 1e-6


def test_the_intervals_hold_the_truth_nine_times_in_ten() -> None:
    """A new run of the predicted model falls into the prediction's interval, the true exponent into its own."""
    shape = (70 * 10**9, 1.4e12)
    held = {"run": 0, "alpha": 0}
    for seed in range(30):
        laws = LawEnsemble.fit(sweep(0.005, seed), 200, seed)
        alpha, band = laws.to_json()["alpha"], laws.predict(*shape)
        run = float(CHINCHILLA.loss(*shape)) * np.exp(np.random.default_rng(1000 + seed).normal(0, 0.005))
        held["run"] += band["low"] <= run <= band["high"]
        held["alpha"] += alpha["low"] <= CHINCHILLA.coefficients["alpha"] <= alpha["high"]
    assert min(held.values()) >= 26, held


def test_the_law_is_the_one_that_scipy_finds() -> None:
    for seed in range(3):
        rows = sweep(0.01, seed)
        sizes, tokens, losses = (np.array([row[key] for row in rows]) for key in ("parameters", "tokens", "loss"))

        def deviations(theta: np.ndarray, at: tuple[np.ndarray, ...] = (sizes, tokens, losses)) -> np.ndarray:
            return np.log(ParametricLaw(tuple(theta)).loss(*at[:2])) - np.log(at[2])

        bounds = (LOWER_BOUNDS, UPPER_BOUNDS)
        theirs = least_squares(
            deviations, CHINCHILLA.theta, bounds=bounds, loss="huber", f_scale=HUBER_DELTA, xtol=1e-12
        )
        ours = ParametricLaw.fit(sizes, tokens, losses)
        assert ours.loss(sizes, tokens) == pytest.approx(ParametricLaw(tuple(theirs.x)).loss(sizes, tokens), rel=1e-5)


def test_overtraining_costs_tokens_and_buys_loss_at_the_same_size() -> None:
    laws = LawEnsemble.fit(sweep(0.002), 200, seed=1)
    gain = laws.difference((8e9, 8e9), (1.5e13, 2e11))
    assert gain["value"] == pytest.approx(float(CHINCHILLA.loss(8e9, 1.5e13) - CHINCHILLA.loss(8e9, 2e11)), rel=0.1)
    assert gain["low"] < gain["value"] < gain["high"] < 0
    assert laws.difference((8e9, 8e9), (1e12, 1e12)) == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 25}


def test_the_lowest_loss_of_a_budget_is_the_laws_minimum_over_sizes() -> None:
    law = {name: {"value": value} for name, value in CHINCHILLA.coefficients.items()}
    for flops in (1e19, 3.8e25):
        sizes = np.geomspace(1e6, 1e14, 200_001)
        searched = CHINCHILLA.loss(sizes, flops / 6 / sizes).min()
        assert compute_optimal_loss(law, flops) == pytest.approx(searched, rel=1e-7)
