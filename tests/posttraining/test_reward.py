"""The ranking loss, and what the reward model trains on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.interface import StageError
from stages.model.llama import RewardModel
from stages.posttraining import reward
from stages.posttraining.data import Preference, read_records, write_records
from stages.posttraining.reward import load_reward_model, rank_responses, ranking_loss, score_responses
from stages.posttraining.sequences import PairBatch, pad, tokenize_dialog
from stages.tasks.example import Example
from tests.fixtures import World, examples, settings, shape, sharp, tuning, write_posttraining
from tests.posttraining.examples import PAIRS, outputs
from tests.recorder import Recorder


def test_rank_responses_returns_all_pairs_of_edited_chosen_rejected() -> None:
    example = examples(1)[0]
    assert rank_responses(Preference(example, "c", "r", "e", 4, 1)) == [
        (example, "e", "c"),
        (example, "e", "r"),
        (example, "c", "r"),
    ]
    assert rank_responses(Preference(example, "c", "r", None, 4, 1)) == [(example, "c", "r")]
    assert rank_responses(Preference(example, "r", "r", "e", 4, 1)) == [(example, "e", "r")]


def test_ranking_loss_matches_the_formula_without_a_margin(world: World) -> None:
    chat = world.chat
    model = sharp(RewardModel(shape()))
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
    items = [Example("arithmetic", "easy", prompt, "", {}) for prompt, _, _ in PAIRS]
    better, worse = (score_responses(model, chat, items, [pair[side] for pair in PAIRS], settings()) for side in (1, 2))
    rows = [tokenize_dialog(chat, prompt, text) for prompt, *both in PAIRS for text in both]
    with torch.no_grad():
        loss, extra = ranking_loss(model, PairBatch(**vars(pad(rows, chat.pad))))
        single = [model(torch.tensor([tokens]))[0, -1].item() for tokens, _ in rows]
    assert better + worse == pytest.approx(single[::2] + single[1::2], rel=1e-4, abs=1e-5)
    gaps = np.array(better) - np.array(worse)
    assert loss.item() == pytest.approx(float(np.log1p(np.exp(-gaps)).sum()), rel=1e-4)
    assert extra["accuracy"] == (gaps > 0).sum()


@pytest.mark.parametrize("start", ["base", "policy"])
def test_reward_model_learns_preferences_and_is_evaluated_on_held_out_prompts(
    start: str, world: World, tmp_path: Path
) -> None:
    write_posttraining(tmp_path)
    inputs = {start: world.model, "preferences": tmp_path}
    section = reward.Reward.model_validate(
        {"start": start, "tuning": tuning(rates=[3e-3], steps=30, batch=16), "held_out": 0.25}
    )
    metrics = reward.run(reward.Config(1, settings(), section), inputs, outputs(tmp_path), Recorder(tmp_path / "tmp"))
    _, held_out = reward.load_pairs(section, inputs)
    assert len(held_out) == metrics["accuracy"]["n"] == metrics["held_out_prompts"] == 5 and metrics["pairs"] == 15
    assert metrics["accuracy"]["value"] == metrics["auc_within_prompts"]["value"] == 1.0
    assert metrics["accuracy"]["low"] < 0.8 and metrics["train_loss"] < np.log(2)
    model, chat = load_reward_model(tmp_path / "model")
    example, *texts = held_out[0]
    good, bad = score_responses(model, chat, [example] * 2, texts, settings())
    assert good > bad


def test_accuracy_is_measured_by_pair_task_and_prompt() -> None:
    first, second, third = examples(3)
    other = Example("howto", "easy", "p", "a", {})
    items = [first, first, first, second, third, other]
    found = reward.measure_accuracy(items, np.array([2.0, 2, 2, 1, 5, 0]), np.array([1.0, 1, 3, 1, 4, 1]))
    # Pairs: right, right, wrong, tie, right, wrong. Prompts: 2/3, 1/2, 1, 0.
    assert found["accuracy"]["value"] == 0.5 and found["accuracy"]["clusters"] == 4
    assert {task: each["value"] for task, each in found["accuracy_by_task"].items()} == {"arithmetic": 0.6, "howto": 0}
    assert found["auc_within_prompts"]["value"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 4)
    assert reward.measure_accuracy([first], np.ones(1), np.zeros(1))["auc_within_prompts"] == {}


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_too_few_preferences_are_refused(share: float, world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = reward.Config(1, settings(), reward.Reward(start="base", tuning=tuning(), held_out=share))
    with pytest.raises(StageError, match="too few"):
        reward.run(config, {"base": world.model, "preferences": tmp_path}, outputs(tmp_path), Recorder(tmp_path))


@pytest.mark.parametrize(("share", "places"), [(0.2, [0, 5, 10, 15]), (0.35, [0, 2, 5, 8, 11, 14, 17])])
def test_held_out_prompts_have_the_requested_share_and_share_no_pair_with_training(
    share: float, places: list[int], tmp_path: Path
) -> None:
    """Every prompt has a pair in two rounds: all pairs of a prompt are on one side."""
    write_posttraining(tmp_path)
    first = read_records(tmp_path / "all.jsonl", Preference)
    second = [replace(preference, rejected="a dog", round=2) for preference in first]
    write_records(tmp_path / "all.jsonl", first + second)
    section = reward.Reward(start="base", tuning=tuning(), held_out=share)
    pairs, held_out = reward.load_pairs(section, {"preferences": tmp_path})
    prompts = [preference.example.prompt for preference in first]
    assert sorted({prompts.index(example.prompt) for example, *_ in held_out}) == places
    assert len(held_out) == 2 * len(places) and len(pairs) == 2 * (len(first) - len(places))
    assert not {example.prompt for example, *_ in pairs} & {example.prompt for example, *_ in held_out}
