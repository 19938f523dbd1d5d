"""Direct preference optimisation (4.1.4): header and termination tokens masked, and a likelihood term on the chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stages.interface import Metrics, Paths, Section, StageError
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import Llama
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Preference, read_records
from stages.posttraining.preferences import select_strong
from stages.posttraining.sequences import (
    INFERENCE_BATCH,
    DialogBatch,
    PairBatch,
    ShuffledBatches,
    TokenizedDialog,
    pad_in_batches,
    tokenize_dialog,
)
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.batches import TrainingRun
from stages.training.curve import tail_mean, write_curve
from stages.training.loader import IGNORE_INDEX
from stages.training.parameters import Training
from stages.training.strategy import Strategy, TrainingContext


class DPO(Section):
    """The loss, and how it is minimised."""

    beta: float = Field(gt=0)
    """Strength of the pull towards the reference model (paper 4.1.4: 0.1)."""
    nll: float = Field(ge=0)
    """Weight of the chosen response's negative log-likelihood per token (paper 4.1.4: 0.2)."""
    mask_formatting: bool
    """Whether header and termination tokens are left out of the loss (paper 4.1.4: yes)."""
    tuning: Tuning
    """Rates, steps and batch, in pairs (paper 4.1.4: learning rate 1e-5; batch and steps not given)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    dpo: Annotated[DPO, "posttraining.dpo"]


Pair = tuple[str, str, str]
"""(prompt, chosen response, rejected response)."""

TokenizedPair = tuple[TokenizedDialog, TokenizedDialog]
"""(chosen, rejected), each with the prompt before it."""


@dataclass
class PreferenceBatch(PairBatch):
    """B pairs, and the reference model's log-likelihood of each row, [2B]."""

    reference: Tensor


@dataclass(frozen=True)
class PreferenceBatches(ShuffledBatches):
    """Batches of pairs; an item is a `Pair`."""

    roles = ("chosen", "rejected")
    tokenized: Sequence[TokenizedPair]
    reference: Tensor
    """Log-likelihoods under the reference model, [2, pairs]: chosen, rejected."""

    def __call__(self, step: int) -> Sequence[PreferenceBatch]:
        reference = self.reference[:, self.sampler.indices(step)].T.flatten()
        return self.micro_batcher(PreferenceBatch(**vars(self.pad_step(step)), reference=reference))

    def tokenize(self, index: int) -> Sequence[TokenizedDialog]:
        return self.tokenized[index]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """policy (the SFT model), preferences -> model, curve (CSV). The latest round's preferences only (4.1.4)."""
    pairs, model = load_pairs(inputs), load_model(inputs["policy"])
    chat = ChatFormat(bpe.load(inputs["policy"]))
    model, history = optimise(config.dpo, config.training, config.seed, model, chat, pairs, context, "DPO")
    save_model(model, outputs["model"], inputs["policy"], context_length(inputs["policy"]), chat=True)
    write_curve(outputs["curve"], history)
    columns = ("loss", "accuracy", "margin", "chosen_change")
    return {
        "pairs": len(pairs),
        "steps": config.dpo.tuning.steps,
        **{column: tail_mean(history, column, steps=20) for column in columns},
    }


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The training runs of the variants that are averaged, without the reference model, which no sample shows."""
    pairs = load_pairs(inputs)
    chat = ChatFormat(bpe.load(inputs["policy"]))
    tokenized, unused = tokenize_pairs(config.dpo, chat, pairs), torch.zeros(2, len(pairs))
    batches = PreferenceBatches.for_variants(
        chat, pairs, config.dpo.tuning, config.training, config.seed, tokenized=tokenized, reference=unused
    )
    return variant_runs(batches, config.dpo.tuning, "DPO", "of each response the tokens that count are marked")


def load_pairs(inputs: Paths) -> list[Pair]:
    """The pairs to train on; an edited response is the chosen one. StageError if there is no pair."""
    preferences = select_strong(read_records(inputs["preferences"] / "preferences.jsonl", Preference))
    if not preferences:
        raise StageError(f"{inputs['preferences']}: no preference is strong enough to train on")
    return [(p.example.prompt, p.edited if p.edited is not None else p.chosen, p.rejected) for p in preferences]


def tokenize_pairs(settings: DPO, chat: ChatFormat, pairs: Sequence[Pair]) -> list[TokenizedPair]:
    """Tokens and targets of both responses of each pair."""
    formatting = not settings.mask_formatting
    return [
        (tokenize_dialog(chat, prompt, chosen, formatting), tokenize_dialog(chat, prompt, rejected, formatting))
        for prompt, chosen, rejected in pairs
    ]


def optimise(
    settings: DPO,
    training: Training,
    seed: int,
    model: Llama,
    chat: ChatFormat,
    pairs: Sequence[Pair],
    context: TrainingContext,
    title: str,
) -> tuple[Llama, list[dict[str, float]]]:
    """Optimises `model` on `pairs`, with itself as the reference; also returns the first variant's curve."""
    tokenized, strategy = tokenize_pairs(settings, chat, pairs), context.strategy
    reference = torch.stack(
        [compute_reference(model, dialogs, chat, training, strategy) for dialogs in zip(*tokenized, strict=True)]
    )
    batches = PreferenceBatches.for_variants(
        chat, pairs, settings.tuning, training, seed, tokenized=tokenized, reference=reference
    )

    def loss(model: Llama, batch: PreferenceBatch) -> tuple[Tensor, dict[str, float]]:
        return dpo_loss(model, batch, settings)

    model, histories = train_variants(model, batches, loss, settings.tuning, training, context, title)
    return model, histories[0]


def dpo_loss(model: Llama, batch: PreferenceBatch, settings: DPO) -> tuple[Tensor, dict[str, float]]:
    """-log sigmoid(beta x margin) + nll x NLL of the chosen per token, summed over the pairs."""
    log_likelihood, num_targets = sum_log_likelihood(model, batch)
    chosen, rejected = (log_likelihood - batch.reference).view(-1, 2).unbind(1)
    margin = settings.beta * (chosen - rejected)
    # An empty response has no targets once its terminator is masked: 0 / 0 would spoil the gradient of every weight.
    nll = -(log_likelihood / num_targets.clamp_min(1))[::2]
    extra = {
        "accuracy": float((margin > 0).sum()),
        "margin": float(margin.detach().sum()),
        "chosen_change": float(chosen.detach().sum()),
    }
    return (-F.logsigmoid(margin) + settings.nll * nll).sum(), extra


def sum_log_likelihood(model: Llama, batch: DialogBatch) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each row's targets in nats, and their number: [B] each."""
    logits = model(batch.tokens).float()
    per_token = -F.cross_entropy(logits.transpose(1, 2), batch.targets, ignore_index=IGNORE_INDEX, reduction="none")
    return batch.sum_rows(per_token), batch.sum_rows(batch.targets != IGNORE_INDEX)


def compute_reference(
    model: Llama, dialogs: Sequence[TokenizedDialog], chat: ChatFormat, training: Training, strategy: Strategy
) -> Tensor:
    """Log-likelihood of each dialog under the model before training, [dialogs]."""
    batches = pad_in_batches(dialogs, chat.pad, INFERENCE_BATCH * strategy.dp_size)
    return strategy.evaluate(model, batches, lambda model, batch: sum_log_likelihood(model, batch)[0], training).float()
