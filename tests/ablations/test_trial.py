"""Ablations as their pipeline runs them: same seed, same data, finished runs kept, the interval over seeds."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flows.record import write_record
from stages.ablations import document_mask, grouped_queries, mixture_of_experts
from stages.ablations.trial import Job, TrialConfig, TrialSettings, measure_once
from stages.scaling.ladder import Architecture, Shape
from tests.fixtures import LEARNING_RATE, MIX, World, settings
from tests.recorder import Recorder

SHAPE = Shape(hidden_size=16, layers=1, heads=4, key_value_heads=2, ffn_size=32)
TRIALS = TrialSettings(
    seeds=2, shape=SHAPE, tokens=2_000, length=32, batch_tokens=128, warmup_share=0.1, floor=0.1, validation_windows=8
)
COMMON = TrialConfig(1, settings(), Architecture(rope_theta=10_000, norm_eps=1e-5, tied=True), LEARNING_RATE)


def test_masked_and_unmasked_runs_are_paired_by_seed_and_kept(world: World, tmp_path: Path) -> None:
    section = document_mask.DocumentMask(short=TRIALS, long=TRIALS.model_copy(update={"length": 128}))
    config = document_mask.Config(**vars(COMMON), mix=MIX, document_mask=section)
    context = Recorder(tmp_path, length="long")
    found = document_mask.run(config, {"tokens": world.tokens}, {}, context)
    rows = {(row["variant"], row["seed"]): row for row in found["runs"]}
    differences = [rows["unmasked", seed]["loss"] - rows["masked", seed]["loss"] for seed in (1, 2)]
    mean = np.mean([rows["masked", seed]["loss"] for seed in (1, 2)])
    assert found["effect"]["value"] == pytest.approx(100 * np.mean(differences) / mean)
    assert found["effect"]["low"] < found["effect"]["value"] < found["effect"]["high"]
    assert all(abs(difference) > 1e-6 for difference in differences)  # the windows hold more than one document
    assert rows["masked", 1]["documents"] > 1.5

    # Stopped and started again: the finished runs are taken as they are, the lost one is made again, to the same bytes.
    lost = tmp_path / "masked-1"
    assert (lost / "result.json").exists()
    for path in lost.iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    other = tmp_path / "unmasked-2" / "result.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"loss": 1e9}))
    again = document_mask.run(config, {"tokens": world.tokens}, {}, context)
    assert again["runs"][0] == found["runs"][0] and again["runs"][3]["loss"] == 1e9


def test_grouped_queries_shrink_the_cache_by_heads_over_key_value_heads(world: World, tmp_path: Path) -> None:
    decoding = grouped_queries.Decoding(shape=SHAPE, batch=2, prompt=8, new_tokens=64, rounds=3)
    section = grouped_queries.GroupedQueries(trials=TRIALS, decoding=decoding)
    config = grouped_queries.Config(**vars(COMMON), mix=MIX, grouped_queries=section)
    found = grouped_queries.run(config, {"tokens": world.tokens}, {}, Recorder(tmp_path))
    cache = next(row for row in found["secondary"] if "cache" in row["quantity"])
    assert cache["value"] == 2.0
    assert found["effect"]["value"] > 0 and found["effect"]["n"] == 3


def test_experts_are_trained_for_the_flops_of_the_dense_model(world: World, tmp_path: Path) -> None:
    section = mixture_of_experts.Experts(
        trials=TRIALS, experts=4, expert_size=16, balance=0.01, rates=[1, 4], window=10, deviations=4
    )
    config = mixture_of_experts.Config(**vars(COMMON), mix=MIX, experts=section)
    found = mixture_of_experts.run(config, {"tokens": world.tokens}, {}, Recorder(tmp_path))
    steps = {row["variant"]: row["steps"] for row in found["runs"]}
    parameters = found["configuration"]["parameters"]
    assert steps["experts x1"] == round(2_000 / 128 * parameters["dense"] / parameters["active"])
    assert steps["dense x1"] == round(2_000 / 128)
    assert len(found["runs"]) == 8 and len(found["secondary"]) == 4
    assert all(row["largest_load"] >= 0.25 for row in found["runs"] if "experts" in row["variant"])


def test_a_spike_is_held_against_the_steps_before_it() -> None:
    losses = np.linspace(5, 4, 100) + 0.01 * np.sin(np.arange(100))
    assert mixture_of_experts.count_spikes(losses, 20, 4) == 0
    losses[[50, 80]] += 1
    assert mixture_of_experts.count_spikes(losses, 20, 4) == 2


def test_the_spread_ratio_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        found = mixture_of_experts.spread_ratio(2 * generator.normal(size=5), generator.normal(size=5))
        inside += found["low"] < 2 < found["high"]
    assert 0.92 < inside / 400 < 0.98


def test_a_record_says_when_and_at_which_configuration(tmp_path: Path) -> None:
    run = tmp_path / "arch-02.json"
    run.write_text(json.dumps({"effect": {"value": 1.0}, "configuration": {"a": 1}}))
    results = tmp_path / "results"
    first = json.loads(write_record(run, results, "toy", "2026-01-31", "abc").read_text())
    assert first["claim"] == "arch-02"
    assert first["made"] | {"configuration": ""} == {
        "scale": "toy",
        "date": "2026-01-31",
        "commit": "abc",
        "configuration": "",
    }
    run.write_text(json.dumps({"effect": {"value": 1.0}, "configuration": {"a": 2}}))
    other = json.loads(write_record(run, results, "toy", "2026-01-31", "abc").read_text())
    assert other["made"]["configuration"] != first["made"]["configuration"]


def test_a_run_that_fails_leaves_no_result(tmp_path: Path) -> None:
    job = Job("a", 1, tmp_path / "a-1")

    def fail(job: Job) -> dict:
        raise OSError("the disk is full")

    with pytest.raises(OSError):
        partial(measure_once, measure=fail)(job)
    assert measure_once(job, lambda job: {"loss": 1.0}) == {"variant": "a", "seed": 1, "loss": 1.0}
    assert measure_once(job, fail) == {"variant": "a", "seed": 1, "loss": 1.0}
