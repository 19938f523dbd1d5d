"""SFT, DPO, the reward model, and the averaging of variants."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from stages.interface import StageError
from stages.model.files import is_chat, load_model
from stages.model.llama import RewardModel
from stages.posttraining import dpo, reward, sft
from stages.posttraining.averaging import train_variants
from stages.posttraining.data import Demonstration, Preference, read_records, write_records
from stages.posttraining.dpo import DPO, PreferenceBatch, compute_reference, dpo_loss, sum_log_likelihood
from stages.posttraining.reward import load_reward_model, rank_responses, ranking_loss, score_responses
from stages.posttraining.sequences import PairBatch, pad, tokenize_dialog
from stages.tasks.example import Example
from stages.tokenizer.chat import make_messages
from stages.training.strategy import SINGLE_PROCESS
from tests.fixtures import World, contents, examples, settings, shape, sharp, tuning, write_posttraining
from tests.recorder import Recorder

PAIRS = [("1 + 2", "3", "the cat"), ("the red house", "by the sea and a mat", "no"), ("sum of 12", "19", "7 7 7")]


def preference(**changes: object) -> DPO:
    usual = {"beta": 0.1, "nll": 0.2, "mask_formatting": True, "tuning": tuning()}
    return DPO.model_validate(usual | changes)


def outputs(directory: Path) -> dict[str, Path]:
    return {"model": directory / "model", "curve": directory / "curve.csv"}


def test_twenty_examples_are_learnt_by_heart(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = sft.Config(1, settings(), tuning(rates=[1e-2], steps=60, batch=20))
    inputs = {"policy": world.model, "demonstrations": tmp_path}
    metrics = sft.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert len(losses) == 60 and losses[-1] < losses[0] / 2
    assert metrics["train_loss"] == pytest.approx(losses[-1], rel=1e-6) and metrics["demonstrations"] == 20
    assert is_chat(tmp_path / "model") and not is_chat(world.model)
    chat, model = world.chat, load_model(tmp_path / "model").eval()
    rows = pad([tokenize_dialog(chat, e.prompt, e.answer) for e in examples()], chat.pad)
    with torch.no_grad():
        mean = sft.response_loss(model, rows)[0].item() / rows.weight
    assert mean == pytest.approx(losses[-1], rel=0.2)


def test_variants_are_averaged(world: World, tmp_path: Path) -> None:
    chat = world.chat
    rows = pad([tokenize_dialog(chat, e.prompt, e.answer) for e in examples(8)], chat.pad)

    class Same:
        fingerprint, few_shapes = "same", False

        def __call__(self, step: int) -> list[object]:
            return [rows]

    def trained(rates: list[float]) -> dict[str, torch.Tensor]:
        model, histories = train_variants(
            load_model(world.model),
            lambda _: Same(),
            sft.response_loss,
            tuning(rates=rates),
            settings(),
            scratch=tmp_path / str(rates),
            context=Recorder(tmp_path),
            title="test",
        )
        assert len(histories) == len(rates)
        return dict(model.named_parameters())

    both, first, second = trained([1e-2, 2e-3]), trained([1e-2]), trained([2e-3])
    for name, value in both.items():
        assert torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6)
    assert not torch.equal(first["model.norm.weight"], second["model.norm.weight"])


@pytest.mark.parametrize("mask_formatting", [True, False])
def test_the_preference_loss_is_the_formula(mask_formatting: bool, world: World) -> None:
    """4.1.4, written out from log-softmax; without the likelihood term it is the sigmoid loss of trl's DPOTrainer."""
    chat = world.chat
    policy, reference = (sharp(load_model(world.model), scale) for scale in (8.0, 6.0))
    config = preference(beta=0.3, mask_formatting=mask_formatting)

    def log_likelihood(model: torch.nn.Module, prompt: str, response: str) -> tuple[torch.Tensor, int]:
        asked, said = chat.encode_prompt(make_messages(prompt)), chat.encode_response(response)
        logs = model(torch.tensor([asked + said]))[0].log_softmax(-1)
        counted = len(said) - mask_formatting  # the terminator is the last
        places = range(len(asked), len(asked) + counted)
        return torch.stack([logs[place - 1, (asked + said)[place]] for place in places]).sum(), counted

    expected, margins = torch.zeros(()), []
    with torch.no_grad():
        for prompt, chosen, rejected in PAIRS:
            (policy_chosen, count), (policy_rejected, _) = (
                log_likelihood(policy, prompt, r) for r in (chosen, rejected)
            )
            (reference_chosen, _), (reference_rejected, _) = (
                log_likelihood(reference, prompt, r) for r in (chosen, rejected)
            )
            pi_logratios, ref_logratios = policy_chosen - policy_rejected, reference_chosen - reference_rejected
            margins.append(0.3 * (pi_logratios - ref_logratios))
            expected += -F.logsigmoid(margins[-1]) + 0.2 * -policy_chosen / count
        formatting = not mask_formatting
        rows = [tokenize_dialog(chat, prompt, text, formatting) for prompt, *both in PAIRS for text in both]
        before = compute_reference(reference, rows, chat, settings(), SINGLE_PROCESS)
        batch = PreferenceBatch(**vars(pad(rows, chat.pad)), reference=before)
        loss, extra = dpo_loss(policy, batch, config)
    assert batch.weight == 3
    assert loss.item() == pytest.approx(float(expected), rel=1e-4)
    assert extra["margin"] == pytest.approx(float(sum(margins)), rel=1e-3)
    assert extra["accuracy"] == sum(bool(margin > 0) for margin in margins)


def test_against_itself_the_preference_loss_is_log_2_and_the_likelihood(world: World) -> None:
    chat, model = world.chat, load_model(world.model)
    rows = [tokenize_dialog(chat, prompt, text, False) for prompt, *both in PAIRS for text in both]
    batch = PreferenceBatch(
        **vars(pad(rows, chat.pad)), reference=compute_reference(model, rows, chat, settings(), SINGLE_PROCESS)
    )
    loss, _ = dpo_loss(model, batch, preference(nll=0.0))
    assert loss.item() == pytest.approx(3 * np.log(2), rel=1e-6)


def test_an_empty_response_poisons_no_gradient(world: World) -> None:
    chat, model = world.chat, load_model(world.model)
    batch = pad([tokenize_dialog(chat, "1 + 2", "3", False), tokenize_dialog(chat, "1 + 2", "", False)], chat.pad)
    loss, _ = dpo_loss(model, PreferenceBatch(**vars(batch), reference=torch.zeros(2)), preference())
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_preferred_answers_become_likelier_than_the_others(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = dpo.Config(1, settings(), preference(tuning=tuning(rates=[3e-3], steps=25, batch=20)))
    inputs = {"policy": world.model, "preferences": tmp_path}
    metrics = dpo.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    assert (
        metrics["pairs"] == 20 and metrics["accuracy"] > 0.9 and metrics["margin"] > 0 and metrics["chosen_change"] > 0
    )
    chat, before, after = world.chat, load_model(world.model).eval(), load_model(tmp_path / "model").eval()
    rows = pad([tokenize_dialog(chat, "3 + 1", "4", False), tokenize_dialog(chat, "3 + 1", "the cat", False)], chat.pad)
    with torch.no_grad():
        (chosen, rejected), (chosen_before, rejected_before) = (sum_log_likelihood(m, rows)[0] for m in (after, before))
    assert chosen - rejected > chosen_before - rejected_before


def test_dpo_trains_on_the_edited_answer_and_on_strong_preferences_only(world: World, tmp_path: Path) -> None:
    example = examples(1)[0]
    rows = [Preference(example, "the", "no", None, strength, 1) for strength in (1, 2)]
    write_records(tmp_path / "preferences.jsonl", rows)
    config = dpo.Config(1, settings(), preference(tuning=tuning(steps=2, batch=2)))
    inputs = {"policy": world.model, "preferences": tmp_path}
    with pytest.raises(StageError, match="strong enough"):
        dpo.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    seen = []
    original = dpo.optimise
    try:
        dpo.optimise = lambda *words: seen.extend(words[5]) or original(*words)  # type: ignore[assignment,func-returns-value]
        write_records(
            tmp_path / "preferences.jsonl",
            [*rows, Preference(example, "a", "no", "1", 3, 1), Preference(example, "a mat", "no", None, 4, 1)],
        )
        metrics = dpo.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    finally:
        dpo.optimise = original
    assert metrics["pairs"] == 2 and seen == [("0 + 1", "1", "no"), ("0 + 1", "a mat", "no")]


def test_rankings_are_all_pairs_of_edited_chosen_rejected() -> None:
    example = examples(1)[0]
    assert rank_responses(Preference(example, "c", "r", "e", 4, 1)) == [
        (example, "e", "c"),
        (example, "e", "r"),
        (example, "c", "r"),
    ]
    assert rank_responses(Preference(example, "c", "r", None, 4, 1)) == [(example, "c", "r")]


def test_the_ranking_loss_is_the_formula_without_a_margin(world: World) -> None:
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


def test_a_reward_model_learns_what_is_preferred_and_is_measured_on_what_it_has_not_seen(
    world: World, tmp_path: Path
) -> None:
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
def test_too_few_comparisons_are_refused(share: float, world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = reward.Config(1, settings(), reward.Reward(tuning=tuning(), held_out=share))
    with pytest.raises(StageError, match="too few"):
        reward.run(config, {"base": world.model, "preferences": tmp_path}, outputs(tmp_path), Recorder(tmp_path))


@pytest.mark.parametrize(("share", "places"), [(0.2, [0, 5, 10, 15]), (0.35, [0, 2, 5, 8, 11, 14, 17])])
def test_as_many_comparisons_are_held_out_as_asked_for_and_evenly_spread(
    share: float, places: list[int], tmp_path: Path
) -> None:
    write_posttraining(tmp_path)
    every = read_records(tmp_path / "all.jsonl", Preference)
    pairs, kept = reward.load_pairs(reward.Reward(tuning=tuning(), held_out=share), {"preferences": tmp_path})
    assert [every.index(preference) for preference in kept] == places
    assert len(pairs) == len(every) - len(places) == 20 - len(places)


def test_nothing_to_train_on_and_rates_that_are_none_are_refused(world: World, tmp_path: Path) -> None:
    write_records(tmp_path / "demonstrations.jsonl", [])
    with pytest.raises(StageError, match="nothing to train on"):
        sft.run(
            sft.Config(1, settings(), tuning()),
            {"policy": world.model, "demonstrations": tmp_path},
            outputs(tmp_path),
            Recorder(tmp_path),
        )
    for rate in (-1e-3, 0.0, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="rates"):
            tuning(rates=[rate])


def test_a_stage_run_again_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = sft.Config(1, settings(precision="bf16"), tuning(rates=[1e-2, 5e-3]))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sft.run(
            config,
            {"policy": world.model, "demonstrations": tmp_path},
            outputs(tmp_path / name),
            Recorder(tmp_path / f"{name}-scratch"),
        )
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_rows_come_back_from_their_files(tmp_path: Path) -> None:
    rows = [Demonstration(example, "é\n\u2028\x85", "annotator") for example in examples(3)]
    write_records(tmp_path / "rows.jsonl", rows)
    assert read_records(tmp_path / "rows.jsonl", Demonstration) == rows
    with pytest.raises(StageError, match="dvc repro"):
        read_records(tmp_path / "none.jsonl", Demonstration)


@pytest.mark.parametrize("mask_formatting", [True, False])
def test_dpo_masks_the_terminators_it_trains_on_if_told_so(
    mask_formatting: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, batches = world.chat, []

    def capture(model: object, make: object, *_: object, **__: object) -> tuple[object, list[list[object]]]:
        batches.extend(make(0)(0))  # type: ignore[operator]
        return model, [[]]

    monkeypatch.setattr(dpo, "train_variants", capture)
    config = preference(mask_formatting=mask_formatting, tuning=tuning(batch=3))
    dpo.optimise(config, settings(), 1, load_model(world.model), chat, PAIRS, Recorder(tmp_path), "test")
    (batch,) = batches
    assert int((batch.targets == chat.end_of_turn).sum()) == (0 if mask_formatting else 6)
    assert int((batch.tokens == chat.end_of_turn).sum()) == 12  # the user's and the assistant's turn of each row
