"""The plan's steps are those that the phases of pretraining take."""

import json
from pathlib import Path

import pytest

from stages.infrastructure.planner import PlannedCluster, PlannedLayout
from stages.infrastructure.reliability import Reliability
from stages.interface import StageError
from stages.pretraining import initial, plan
from stages.pretraining.long_context import LongContext
from stages.scaling.fit import Herd
from stages.scaling.isoflops import Budget, Sweep
from stages.scaling.ladder import Architecture, Shape
from stages.tokenizer.train import TokenizerTraining
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, settings
from tests.pretraining import test_initial
from tests.recorder import Recorder

PLAN = PlannedCluster(
    rung=2,
    devices=1,
    devices_per_node=1,
    memory_gb=1,
    tflops=0.4,
    mfu=0.2,
    efficiency=0.4,
    watts=30,
    node_gb_per_second=20,
    network_gb_per_second=1,
    storage_gb_per_second=0.5,
    storage_peak_gb_per_second=1,
    kernels="eager",
    layouts=[PlannedLayout(length=1024)],
    bytes_per_token=3,
    kept_share=0.5,
)
CONFIG = plan.Config(
    scale="test",
    training=settings(),
    tokenizer=TokenizerTraining(vocab_size=300, sample_mb=1, compare=[280], validation_per_mille=200),
    architecture=Architecture(rope_theta=10_000, norm_eps=1e-5, tied=True),
    ladder=[
        Shape(hidden_size=8 * size, layers=size, heads=2, key_value_heads=1, ffn_size=16 * size) for size in (1, 2, 3)
    ],
    sweep=Sweep(
        budgets=[Budget(flops=1e6, rungs=[0, 1, 2], batch=2)] * 2,
        extra=[],
        length=16,
        warmup_share=0.1,
        floor=0.1,
        validation_windows=2,
    ),
    herd=Herd(flagship_flops=1e9, medium_ratio=0.5, small_ratio=0.2, sibling_tokens=1.0, bootstrap=100),
    pretraining=PRETRAINING,
    initial=test_initial.SETTINGS,
    long_context=LongContext(
        rate=0.1, lengths=[48, 64], segments=1, loss_tolerance=0.1, needle_threshold=1.0, needles=1
    ),
    plan=PLAN,
    reliability=Reliability(
        gpus=1,
        days=1,
        parameters=1,
        bytes_per_parameter=12,
        storage_bytes_per_second=1e9,
        checkpoint_minutes=1,
        detect_minutes=1,
        restart_minutes=1,
        spare_nodes=1,
        repair_hours=1,
        runs=20,
    ),
)


def test_the_planned_steps_of_the_ramp_are_those_trained(world: World, tmp_path: Path) -> None:
    result = plan.run(CONFIG, {"herd": world.herd}, {}, Recorder(tmp_path))
    budget = json.loads(world.herd.read_text())["members"]["flagship"]["tokens"] * PRETRAINING.initial
    trained = initial.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, CONFIG.initial)
    batches = initial.make_ramp_batches(trained, world.shards, budget)
    ramp = [phase for phase in result["phases"] if phase["name"].startswith("initial")]
    assert [phase["steps"] for phase in ramp] == list(batches.steps)
    assert [phase["sequences"] for phase in ramp] == [part.size for part in batches.parts]
    assert result["source"] == f"fitted: {world.herd}" and result["tokens"] == 4_000
    assert sum(phase["tokens"] for phase in result["phases"]) == pytest.approx(4_000)
    json.dumps(result, allow_nan=False)


def test_without_a_fit_the_ladder_gives_the_size() -> None:
    result = plan.make_plan(CONFIG)
    assert result["model"]["hidden_size"] == 24 and "rung 2 of the ladder" in result["source"]
    assert result["flops"] == pytest.approx(1e9)
    assert result["other_flops"]["sweep"] == 6e6


def test_a_herd_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "herd.json"
    for text in ("{}", "not JSON", '{"members": {"flagship": {"config": {"width": 3}, "tokens": 1}}}'):
        path.write_text(text)
        with pytest.raises(StageError, match=r"herd\.json: not a herd file"):
            plan.make_plan(CONFIG, path)
