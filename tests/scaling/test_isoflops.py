import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.interface import Metrics, StageError
from stages.scaling import isoflops
from stages.scaling.isoflops import Budget, Config, ExtraModel, Sweep
from stages.scaling.ladder import Architecture, Shape
from stages.scaling.questions import Questions
from stages.training.parameters import make_optimizer
from tests.fixtures import LEARNING_RATE, MIX, World, change, contents, settings
from tests.recorder import Recorder

LADDER = [Shape(hidden_size=8 * n, layers=1, heads=2, key_value_heads=1, ffn_size=24 * n) for n in (1, 2, 3)]
# Equal to three digits: nothing of one may be taken for the other.
FLOPS = (2.0001e7, 2.0002e7)

QUESTIONS = Questions(prompts=4, shots=1, choices=3)


def config(**changes: object) -> Config:
    budgets = [Budget(flops=flops, rungs=[0, 1, 2], batch=batch) for flops, batch in zip(FLOPS, (4, 8), strict=True)]
    values = {"budgets": budgets, "extra": [], "length": 32, "warmup_share": 0.1, "floor": 0.1, "validation_windows": 8}
    architecture = Architecture(rope_theta=500_000.0, norm_eps=1e-5, tied=True)
    sweep = Sweep.model_validate(values | changes)
    return Config(1, MIX, settings(), architecture, LADDER, LEARNING_RATE, sweep, QUESTIONS)


def run(
    world: World, directory: Path, context: Recorder, settings: Config | None = None, tokens: Path | None = None
) -> Metrics:
    directory.mkdir()
    inputs = {"tokens": tokens or world.tokens, "tokenizer": world.tokenizer}
    return isoflops.run(settings or config(), inputs, {"sweep": directory}, context)


def trained(context: Recorder) -> dict[Path, int]:
    """What the cache holds, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in context.cache.iterdir()}


def test_each_model_of_a_budget_spends_it(world: World, tmp_path: Path) -> None:
    context = Recorder(tmp_path / "scratch")
    points = run(world, tmp_path / "a", context)["points"]
    assert [(point["flops"], point["hidden_size"]) for point in points] == [(f, h) for f in FLOPS for h in (8, 16, 24)]
    for point, batch in zip(points, (4, 4, 4, 8, 8, 8), strict=True):
        assert point["tokens"] == point["steps"] * batch * 32
        # To the nearest step.
        assert abs(point["flops_spent"] - point["flops"]) <= 6 * point["parameters"] * batch * 32 / 2
        assert point["flops_spent"] == 6 * point["parameters"] * point["tokens"]
        assert point["loss"] < math.log(300) and 0 < point["loss_error"] < 1
        assert 0 <= point["answer_accuracy"] <= 1 and 0 < point["answer_nats"] < 20
        assert point["learning_rate"] == LEARNING_RATE.at(point["parameters"])
    assert points[0]["loss"] != points[3]["loss"]
    # Each is shown by itself, with the loss it fell by and the one it reached.
    assert len(context.child_runs) == 6
    for part, point in zip(context.child_runs.values(), points, strict=True):
        assert part["values"]["loss"] == point["loss"] and part["parameters"]["parameters"] == point["parameters"]
        # One step is all that some take: a curve of the loss before it.
        assert max(part["curve"]) == point["steps"] and part["curve"][point["steps"]] < math.log(300) + 0.05


def test_another_budget_trains_its_own_models_only(world: World, tmp_path: Path) -> None:
    context = Recorder(tmp_path / "scratch")
    run(world, tmp_path / "a", context)
    before = trained(context)
    more = Budget(flops=2.5e7, rungs=[0, 1, 2], batch=4)
    larger = config(budgets=[*config().sweep.budgets, more], extra=[ExtraModel(flops=3e7, rung=1, batch=4)])
    points = run(world, tmp_path / "b", context, larger)
    after = trained(context)
    assert len(before) == 6 and len(after) == 10 and {path: after[path] for path in before} == before
    assert (
        len(points["points"]) == 9
        and len(points["extra"]) == 1
        and context.notes == ["6 of 10 models were trained before"]
    )
    # The bytes are those of a sweep that trains every model.
    run(world, tmp_path / "c", Recorder(tmp_path / "elsewhere"), larger)
    assert contents(tmp_path / "b") == contents(tmp_path / "c")


def test_a_sweep_that_was_interrupted_takes_up_what_is_done(world: World, tmp_path: Path) -> None:
    context = Recorder(tmp_path / "scratch")
    run(world, tmp_path / "a", context)
    next(context.cache.iterdir()).unlink()
    before = trained(context)
    run(world, tmp_path / "b", context)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(before) == 5 and before.items() <= trained(context).items()


def test_what_a_result_depends_on_is_in_its_key(world: World, tmp_path: Path) -> None:
    usual = config()
    other = shutil.copytree(world.tokens, tmp_path / "tokens")
    index = json.loads((other / "tokens.json").read_text())
    (other / "tokens.json").write_text(json.dumps(index | {"sha256": {}}))

    def keys(settings: Config, tokens: Path = world.tokens) -> list[str]:
        inputs = {"tokens": tokens, "tokenizer": world.tokenizer}
        return [point.cache_key for point in isoflops.sweep_points(settings, inputs, tmp_path)]

    same = keys(usual)
    assert len(set(same)) == 6
    assert keys(config(budgets=list(reversed(usual.sweep.budgets)))) == same[3:] + same[:3]
    assert keys(replace(usual, training=change(usual.training, checkpoint_seconds=3.0))) == same
    rate = change(LEARNING_RATE, reference=2e-2)
    others = [
        keys(usual, other),
        keys(replace(usual, seed=2)),
        keys(replace(usual, learning_rate=rate)),
        keys(replace(usual, training=change(usual.training, clip=2.0))),
        keys(config(length=16)),
        keys(config(validation_windows=9)),
        keys(replace(usual, questions=change(QUESTIONS, shots=2))),
        keys(replace(usual, mix=change(MIX, general=0.6, math=0.15))),
        keys(replace(usual, architecture=change(usual.architecture, rope_theta=1e4))),
    ]
    assert len({key for result in [same, *others] for key in result}) == 6 * 10


def test_the_decay_of_each_step_is_a_tenth_of_its_rate(world: World, tmp_path: Path) -> None:
    """3.2.1: warm-up, a cosine to 0.1 of the peak; without a gradient a weight shrinks by 0.1 of each step's rate."""
    inputs = {"tokens": world.tokens, "tokenizer": world.tokenizer}
    budgets = [Budget(flops=2e8, rungs=[0, 1, 2], batch=4)] * 2
    point = isoflops.sweep_points(config(budgets=budgets), inputs, tmp_path)[0]
    rates = [point.schedule(step) for step in range(point.steps)]
    assert max(rates) == LEARNING_RATE.at(point.model.parameters)
    assert rates[0] < rates[1] <= max(rates) > rates[-1] > point.schedule(point.steps)
    assert point.schedule(point.steps) == pytest.approx(0.1 * max(rates))
    model = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    optimizer, expected = make_optimizer(model, settings()), model.weight.detach().clone()
    for rate in rates:
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step(rate)
        expected *= 1 - 0.1 * rate
    assert torch.allclose(model.weight, expected, rtol=1e-9)


def test_a_rung_above_the_ladder_is_named(world: World, tmp_path: Path) -> None:
    budgets = [Budget(flops=1e8, rungs=[0, 1, 2], batch=4), Budget(flops=2e8, rungs=[1, 2, 3], batch=4)]
    with pytest.raises(StageError, match=r"budgets\.1\.rungs: 3 is above the last rung, 2"):
        run(world, tmp_path / "a", Recorder(tmp_path), config(budgets=budgets))
