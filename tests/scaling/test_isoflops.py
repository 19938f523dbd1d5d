import math
from pathlib import Path

import pytest

from stages.interface import Metrics, StageError
from stages.scaling import isoflops
from stages.scaling.isoflops import Budget, Config, Sweep
from stages.scaling.ladder import Architecture, Shape
from tests.fixtures import LEARNING_RATE, MIX, World, contents, settings
from tests.recorder import Recorder

LADDER = [Shape(hidden_size=8 * n, layers=1, heads=2, key_value_heads=1, ffn_size=24 * n) for n in (1, 2, 3)]
# Equal to three digits: nothing of one may be taken for the other.
FLOPS = (2.0001e7, 2.0002e7)


def config(**changes: object) -> Config:
    budgets = [Budget(flops=flops, rungs=[0, 1, 2], batch=batch) for flops, batch in zip(FLOPS, (4, 8), strict=True)]
    values = {"budgets": budgets, "length": 32, "warmup_share": 0.1, "floor": 0.1, "validation_windows": 8}
    architecture = Architecture(rope_theta=500_000.0, norm_eps=1e-5, tied=True)
    sweep = Sweep.model_validate(values | changes)
    return Config(1, MIX, settings(), architecture, LADDER, LEARNING_RATE, sweep)


def run(world: World, directory: Path, scratch: Path) -> Metrics:
    directory.mkdir()
    return isoflops.run(config(), {"tokens": world.tokens}, {"sweep": directory}, Recorder(scratch))


def test_each_model_of_a_budget_spends_it(world: World, tmp_path: Path) -> None:
    points = run(world, tmp_path / "a", tmp_path / "scratch")["points"]
    assert [(point["flops"], point["hidden_size"]) for point in points] == [(f, h) for f in FLOPS for h in (8, 16, 24)]
    for point, batch in zip(points, (4, 4, 4, 8, 8, 8), strict=True):
        assert point["tokens"] == point["steps"] * batch * 32
        # To the nearest step.
        assert abs(point["flops_spent"] - point["flops"]) <= 6 * point["parameters"] * batch * 32 / 2
        assert point["flops_spent"] == 6 * point["parameters"] * point["tokens"]
        assert point["loss"] < math.log(300) and 0 < point["loss_error"] < 1
    assert points[0]["loss"] != points[3]["loss"]
    # A sweep that was interrupted takes up what is done and does the rest as before.
    (tmp_path / "scratch" / "1-2" / "result.json").unlink()
    results = {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").glob("*/result.json")}
    run(world, tmp_path / "b", tmp_path / "scratch")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(results) == 5 and all(path.stat().st_mtime_ns == time for path, time in results.items())


def test_a_rung_above_the_ladder_is_named(world: World, tmp_path: Path) -> None:
    budgets = [Budget(flops=1e8, rungs=[0, 1, 2], batch=4), Budget(flops=2e8, rungs=[1, 2, 3], batch=4)]
    with pytest.raises(StageError, match=r"budgets\.1\.rungs: 3 is above"):
        isoflops.run(config(budgets=budgets), {"tokens": world.tokens}, {"sweep": tmp_path}, Recorder(tmp_path))
