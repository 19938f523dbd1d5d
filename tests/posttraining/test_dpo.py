"""The DPO loss, and what DPO trains on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.interface import StageError
from stages.model.files import load_model
from stages.posttraining import dpo
from stages.posttraining.data import Preference, write_records
from stages.posttraining.dpo import PreferenceBatch, compute_reference, dpo_loss, sum_log_likelihood
from stages.posttraining.sequences import pad, tokenize_dialog
from stages.tokenizer.chat import make_messages
from stages.training.strategy import SINGLE_PROCESS
from tests.fixtures import World, examples, settings, sharp, tuning, write_posttraining
from tests.posttraining.examples import PAIRS, dpo_settings, outputs
from tests.recorder import Recorder


@pytest.mark.parametrize("mask_formatting", [True, False])
def test_dpo_loss_matches_the_formula(mask_formatting: bool, world: World) -> None:
    """4.1.4, written out from log-softmax; without the likelihood term it is the sigmoid loss of trl's DPOTrainer."""
    chat = world.chat
    policy, reference = (sharp(load_model(world.model), scale) for scale in (8.0, 6.0))
    config = dpo_settings(beta=0.3, mask_formatting=mask_formatting)

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


def test_dpo_loss_of_the_reference_itself_is_log_2(world: World) -> None:
    chat, model = world.chat, load_model(world.model)
    rows = [tokenize_dialog(chat, prompt, text, False) for prompt, *both in PAIRS for text in both]
    batch = PreferenceBatch(
        **vars(pad(rows, chat.pad)), reference=compute_reference(model, rows, chat, settings(), SINGLE_PROCESS)
    )
    loss, _ = dpo_loss(model, batch, dpo_settings(nll=0.0))
    assert loss.item() == pytest.approx(3 * np.log(2), rel=1e-6)


def test_empty_response_keeps_gradients_finite(world: World) -> None:
    chat, model = world.chat, load_model(world.model)
    batch = pad([tokenize_dialog(chat, "1 + 2", "3", False), tokenize_dialog(chat, "1 + 2", "", False)], chat.pad)
    loss, _ = dpo_loss(model, PreferenceBatch(**vars(batch), reference=torch.zeros(2)), dpo_settings())
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_chosen_responses_become_more_likely_than_rejected_ones(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = dpo.Config(1, settings(), dpo_settings(tuning=tuning(rates=[3e-3], steps=25, batch=20)))
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
    config = dpo.Config(1, settings(), dpo_settings(tuning=tuning(steps=2, batch=2)))
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


@pytest.mark.parametrize("mask_formatting", [True, False])
def test_mask_formatting_masks_the_terminators(
    mask_formatting: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, batches = world.chat, []

    def capture(model: object, made: list[object], *_: object, **__: object) -> tuple[object, list[list[object]]]:
        batches.extend(made[0](0))  # type: ignore[operator]
        return model, [[]]

    monkeypatch.setattr(dpo, "train_variants", capture)
    config = dpo_settings(mask_formatting=mask_formatting, tuning=tuning(batch=3))
    dpo.optimise(config, settings(), 1, load_model(world.model), chat, PAIRS, Recorder(tmp_path), "test")
    (batch,) = batches
    assert int((batch.targets == chat.end_of_turn).sum()) == (0 if mask_formatting else 6)
    assert int((batch.tokens == chat.end_of_turn).sum()) == 12  # the user's and the assistant's turn of each row
