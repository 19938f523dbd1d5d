"""The ablations of post-training: the stages themselves, repeated with other seeds."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.ablations import dpo_gain, rejection_sampling, rounds, teaching
from stages.ablations.posttraining import PosttrainingTrials, TuningConfig
from stages.interface import StageError
from stages.posttraining import preferences, prompts, rejection, reward
from stages.posttraining.pruning import Pruning
from stages.posttraining.respond import Responder, Sampling
from stages.tasks.example import Example
from stages.tasks.held_out import Evaluation
from tests.fixtures import World, contents, settings, tuning, write_posttraining
from tests.posttraining.examples import SAMPLING, dpo_settings, prompt_files
from tests.recorder import Recorder

TRIALS = PosttrainingTrials(seeds=2)
COMMON = TuningConfig(1, settings(), SAMPLING, tuning(steps=2), Evaluation(prompts=2))
REJECTION = rejection.Rejection(answers=2, temperature=1.0, vote_temperature=1.0, apologies=0.5)
REWARD = reward.Reward(start="base", tuning=tuning(steps=2), held_out=0.2)
PRUNING = Pruning(quality_quantile=0.0, similarity=1.0)


def answer_half_right(self: Responder, asked: list[Example], sampling: Sampling, **options: Any) -> list[list[str]]:
    """One wrong answer to every prompt; of several, the second is right."""
    return [["zzz", e.answer][: options.get("num_return_sequences", 1)] for e in asked]


def test_rounds_are_compared_over_seeds_at_equal_gold(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Responder, "respond", answer_half_right)
    sections = {
        "prompts": prompts.Prompts(demonstrations=2, sampled=2, compared=4, lapses=0.0),
        "preferences": preferences.PreferenceSampling(temperature=1.0, answers=2, pairs=2, edited=0.5),
        "reward": REWARD,
        "rejection": REJECTION,
        "pruning": PRUNING,
        "dpo": dpo_settings(),
    }
    config = rounds.Config(**vars(COMMON), rounds=2, trials=TRIALS, **sections)
    before = contents(world.model)
    found = rounds.run(config, {"base": world.model}, {}, Recorder(tmp_path))
    assert contents(world.model) == before
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    assert set(found["runs"][0]) == {"variant", "seed", "base", "sft-1", "dpo-1", "sft-2", "dpo-2"}
    quantities = {found["effect"]["quantity"], found["secondary"][0]["quantity"]}
    assert {quantity.split(",")[0] for quantity in quantities} == {
        "accuracy of round 1 minus base",
        "accuracy of round 2 minus round 1",
    }
    first, second = (
        {
            json.loads(line)["prompt"]
            for line in (tmp_path / f"rounds-1/prompts/prompts/sampled-{number}.jsonl").read_text().splitlines()
        }
        for number in (1, 2)
    )
    assert not first & second
    # Another seed has other prompts.
    assert contents(tmp_path / "rounds-1/prompts") != contents(tmp_path / "rounds-2/prompts")

    runs = [run | {"sft-2": 10.0, "dpo-2": 12.0 + run["seed"]} for run in found["runs"]]
    (tmp_path / "post-01.json").write_text(json.dumps(found | {"runs": runs}))
    gain = dpo_gain.run(dpo_gain.Config(), {"rounds": tmp_path / "post-01.json"}, {}, Recorder(tmp_path))
    assert gain["effect"]["value"] == pytest.approx(3.5) and "round 2" in gain["effect"]["quantity"]
    assert len(gain["secondary"]) == 1 and gain["effect"]["low"] < 3.5 < gain["effect"]["high"]


def test_samples_of_the_reward_model_are_compared_at_equal_rows(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Responder, "respond", answer_half_right)
    write_posttraining(tmp_path)
    (tmp_path / "prompts").mkdir()
    config = rejection_sampling.Config(**vars(COMMON), reward=REWARD, rejection=REJECTION, trials=TRIALS)
    models = {"base": world.model, "policy": world.model}
    inputs = {"prompts": prompt_files(tmp_path / "prompts"), "preferences": tmp_path, **models}
    found = rejection_sampling.run(config, inputs, {}, Recorder(tmp_path, round="1"))
    assert {(run["variant"], run["seed"]) for run in found["runs"]} == {
        (variant, seed) for variant in ("reward", "random", "verifier", "policy") for seed in (1, 2)
    }
    assert found["effect"]["quantity"].startswith("accuracy of SFT on the best of K by reward minus SFT on random")
    assert len(found["secondary"]) == 3 and found["effect"]["n"] == 2


def test_variants_of_rejection_sampling_select_as_they_say() -> None:
    rewards = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
    is_right = np.array([[True, False], [False, False], [True, True], [False, False]])
    found = rejection_sampling.select_rows(rewards, is_right, random.Random(1))
    assert [len(rows) for rows in found.values()] == [2, 2, 2]
    assert all(answer == rewards[index].argmax() for index, answer in found["reward"])
    assert [index for index, _ in found["random"]] == [index for index, _ in found["reward"]]
    assert [index for index, _ in found["verifier"]] == [0, 2] and all(is_right[row] for row in found["verifier"])
    with pytest.raises(StageError, match="no sampled response is right"):
        rejection_sampling.select_rows(rewards, np.zeros_like(is_right), random.Random(1))


def test_the_student_is_trained_on_either_models_samples(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Responder, "respond", answer_half_right)
    config = teaching.Config(**vars(COMMON), rejection=REJECTION, pruning=PRUNING, trials=TRIALS)
    models = dict.fromkeys(("student", "teacher", "reward"), world.model)
    inputs = {"prompts": prompt_files(tmp_path), **models}
    found = teaching.run(config, inputs, {}, Recorder(tmp_path, round="1"))
    assert [(run["variant"], run["seed"]) for run in found["runs"]] == [
        ("flagship", 1),
        ("own", 1),
        ("flagship", 2),
        ("own", 2),
    ]
    assert all(run["sampled"] > 0 for run in found["runs"]) and found["effect"]["value"] == 0
