"""Accuracy from compute in two stages: known laws come back, and bands hold the models they are for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.scaling import downstream
from stages.scaling.downstream import AccuracyFit, LikelihoodFit, predict_member
from stages.scaling.fit import Herd
from tests.recorder import Recorder

ALPHA, LOG_A = 0.5, np.log(0.3)
LAW = {"alpha": {"value": ALPHA}, "log_a": {"value": LOG_A}}
INTERCEPT, SLOPE, OFF = 6.2, -0.1, 0.08
STEEP, MIDDLE, FLOOR = 9.0, 0.8, 0.28
HERD = Herd(flagship_flops=1e22, medium_ratio=0.6, small_ratio=0.27, sibling_tokens=1.0, bootstrap=200)


def model(flops: float, offset: float, generator: np.random.Generator, noise: float, asked: int) -> dict[str, Any]:
    """A model so far from the optimal ln(tokens), on both laws."""
    tokens = float(np.exp(LOG_A + ALPHA * np.log(flops) + offset))
    nats = INTERCEPT + SLOPE * np.log(flops) + OFF * offset**2 + generator.normal(0, noise)
    share = FLOOR + (1 - FLOOR) / (1 + np.exp(STEEP * (nats - MIDDLE)))
    right = generator.binomial(asked, share) / asked if asked < 10**6 else share
    return {
        "flops": flops,
        "parameters": flops / 6 / tokens,
        "tokens": tokens,
        "answer_nats": nats,
        "answer_accuracy": right,
        "chance": 0.25,
        "questions": asked,
    }


def sweep(noise: float, seed: int = 0, asked: int = 10**6, bend: float = 0.0) -> list[dict[str, Any]]:
    """Five models in each of six budgets; below 1e20 FLOPs the likelihood of right answers bends away by `bend`."""
    generator = np.random.default_rng(seed)
    points = [
        model(flops, offset, generator, noise, asked)
        for flops in (3e18, 1e19, 3e19, 1e20, 3e20, 1e21)
        for offset in np.linspace(-1, 1, 5)
    ]
    for point in points:
        point["answer_nats"] += bend * max(0.0, np.log(1e20 / point["flops"])) ** 2
    return points


def test_without_noise_both_laws_come_back() -> None:
    points = sweep(0.0)
    first, second = LikelihoodFit.fit(points, LAW, 100, 1), AccuracyFit.fit(points, 100, 1)
    assert first.coefficients == pytest.approx([INTERCEPT, SLOPE, OFF], rel=1e-6)
    assert second.theta == pytest.approx([STEEP, MIDDLE, FLOOR], rel=1e-3)
    tokens = float(np.exp(LOG_A + ALPHA * np.log(1e22)))
    result = predict_member(first, second, {"parameters": 1e22 / 6 / tokens, "tokens": tokens})
    nats = INTERCEPT + SLOPE * np.log(1e22)
    assert result["nats"]["value"] == pytest.approx(nats, rel=1e-6)
    expected = FLOOR + (1 - FLOOR) / (1 + np.exp(STEEP * (nats - MIDDLE)))
    assert result["accuracy"]["value"] == pytest.approx(expected, rel=1e-3)


def test_the_bands_hold_a_new_model_nine_times_in_ten() -> None:
    held = {"nats": 0, "accuracy": 0}
    for seed in range(30):
        points = sweep(0.02, seed, asked=400)
        first, second = LikelihoodFit.fit(points, LAW, 100, seed), AccuracyFit.fit(points, 100, seed)
        new = model(1e22, 0.2, np.random.default_rng(1000 + seed), 0.02, 400)
        result = predict_member(first, second, new)
        for name in held:
            held[name] += result[name]["low"] <= new[f"answer_{name}"] <= result[name]["high"]
    assert min(held.values()) >= 27, held


def test_the_line_starts_where_the_runs_do_not_bend() -> None:
    straight, bent = (LikelihoodFit.fit(sweep(0.005, bend=bend), LAW, 100, 1) for bend in (0.0, 0.1))
    assert straight.first_flops == 3e18 and straight.straight and straight.runs == 30
    assert 3e19 <= bent.first_flops <= 1e20 and bent.straight
    assert bent.to_json()["slope"]["value"] == pytest.approx(SLOPE, abs=0.02)
    everywhere = [point | {"answer_nats": 0.05 * np.log(point["flops"] / 1e24) ** 2} for point in sweep(0.0)]
    assert not LikelihoodFit.fit(everywhere, LAW, 100, 1).straight


def test_the_stage_predicts_every_member_from_the_sweep_alone(tmp_path: Path) -> None:
    points = sweep(0.01, asked=400)
    (tmp_path / "points.json").write_text(json.dumps(points[:-2]))
    (tmp_path / "extra.json").write_text(json.dumps(points[-2:]))
    sizes = {"small": 1e10, "flagship": 4e10}
    members = {name: {"parameters": size, "tokens": 1e22 / 6 / 4e10} for name, size in sizes.items()}
    (tmp_path / "herd.json").write_text(json.dumps({"fit": LAW, "members": members}))
    inputs = {"sweep": tmp_path, "herd": tmp_path / "herd.json"}
    result = downstream.run(downstream.Config(1, HERD), inputs, {}, Recorder(tmp_path))
    assert result["members"]["flagship"]["nats"]["value"] < result["members"]["small"]["nats"]["value"]
    assert result["members"]["flagship"]["accuracy"]["value"] > result["members"]["small"]["accuracy"]["value"]
    assert result["accuracy"]["slope"]["n"] == 30 and "NaN" not in json.dumps(result)
    assert downstream.run(downstream.Config(1, HERD), inputs, {}, Recorder(tmp_path)) == result
