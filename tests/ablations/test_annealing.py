"""Annealing with and without the up-sampled data."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stages.ablations import annealing
from stages.pretraining.annealing import Annealing
from stages.tokenizer.corpus import Mix
from tests.ablations.models import SKILLS
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, contents, settings
from tests.recorder import Recorder


def annealed(world: World, scratch: Path, member: str, **more: Path) -> dict:
    section = annealing.AnnealingComparison(seeds=2, skills=SKILLS, domain_tasks=["arithmetic", "facts"])
    own = Annealing(start=0.5, mix=Mix(general=0.1, math=0.7, code=0.1, multilingual=0.1), checkpoints=2, control=False)
    config = annealing.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, own, section)
    herd = json.loads(world.herd.read_text())
    herd["members"]["small"] = herd["members"]["flagship"]
    (scratch.parent / "herd.json").write_text(json.dumps(herd))
    inputs = world.pretraining_inputs | {"herd": scratch.parent / "herd.json"} | more
    return annealing.run(config, inputs, {}, Recorder(scratch, member=member))


def test_the_gain_of_small_is_set_against_the_flagships(world: World, tmp_path: Path) -> None:
    before = contents(world.model)
    small = annealed(world, tmp_path / "small", "small")
    assert small["effect"]["quantity"].endswith("small")
    assert small["effect"]["quantity"].startswith("accuracy on arithmetic and facts")
    assert small["secondary"][0]["quantity"].startswith("accuracy on all tasks")
    assert small["configuration"]["steps"] == round(4_000 * PRETRAINING.annealing / PRETRAINING.batch_tokens)
    for row, other in zip(small["runs"], small["runs"][1:], strict=False):
        assert row["loss"] != other["loss"]
    # As if small had gained much.
    gained = {"with": 50.0, "without": 20.0}
    runs = [row | {"domain_accuracy": gained[row["variant"]] + row["seed"] % 2 / 2} for row in small["runs"]]
    (tmp_path / "data-09.json").write_text(json.dumps(small | {"runs": runs}))
    flagship = annealed(world, tmp_path / "flagship", "flagship", smaller=tmp_path / "data-09.json")
    assert flagship["effect"]["value"] == pytest.approx(30.0 - flagship["secondary"][0]["value"])
    assert contents(world.model) == before


def test_unpaired_runs_have_welchs_interval() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 7.0]), np.array([0.0, 0.5, 1.0])
    result = annealing.welch_difference(first, second)
    reference = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (result["low"], result["high"]) == pytest.approx((reference.low, reference.high))
    assert annealing.welch_difference(np.zeros(3), np.ones(3)) == {"value": -1.0, "low": -1.0, "high": -1.0, "n": 3}
