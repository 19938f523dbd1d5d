"""The ranking loss, and what the reward model trains on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.interface import StageError
from stages.model.llama import RewardModel
from stages.posttraining import reward
from stages.posttraining.data import Preference, read_records
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


def test_reward_model_learns_preferences_and_is_evaluated_on_held_out_ones(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    inputs = {"base": world.model, "preferences": tmp_path}
    section = reward.Reward(tuning=tuning(rates=[3e-3], steps=30, batch=16), held_out=0.25)
    config = reward.Config(1, settings(), section)
    seen = []
    original = reward.rank_responses
    try:
        reward.rank_responses = lambda preference: seen.append(preference) or original(preference)  # type: ignore[func-returns-value]
        metrics = reward.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    finally:
        reward.rank_responses = original
    held = [c for c in read_records(tmp_path / "all.jsonl", Preference) if c not in seen]
    assert len(held) == metrics["accuracy"]["n"] == 5 and metrics["pairs"] == 15
    assert metrics["accuracy"]["value"] == 1.0 and metrics["train_loss"] < np.log(2)
    model, chat = load_reward_model(tmp_path / "model")
    good, bad = score_responses(model, chat, [held[0].example] * 2, [held[0].chosen, held[0].rejected], settings())
    assert good > bad


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_too_few_preferences_are_refused(share: float, world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = reward.Config(1, settings(), reward.Reward(tuning=tuning(), held_out=share))
    with pytest.raises(StageError, match="too few"):
        reward.run(config, {"base": world.model, "preferences": tmp_path}, outputs(tmp_path), Recorder(tmp_path))


@pytest.mark.parametrize(("share", "places"), [(0.2, [0, 5, 10, 15]), (0.35, [0, 2, 5, 8, 11, 14, 17])])
def test_held_out_preferences_have_the_requested_share_and_are_evenly_spread(
    share: float, places: list[int], tmp_path: Path
) -> None:
    write_posttraining(tmp_path)
    every = read_records(tmp_path / "all.jsonl", Preference)
    pairs, kept = reward.load_pairs(reward.Reward(tuning=tuning(), held_out=share), {"preferences": tmp_path})
    assert [every.index(preference) for preference in kept] == places
    assert len(pairs) == len(every) - len(places) == 20 - len(places)
