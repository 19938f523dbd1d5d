"""Supervised finetuning (4.1.3): cross-entropy on the responses, the prompts masked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from stages.interface import Metrics, Paths
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import Llama
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Demonstration, read_records
from stages.posttraining.sequences import DialogBatch, ShuffledBatches, TokenizedDialog, tokenize_dialog
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.batches import TrainingRun
from stages.training.compiled import cross_entropy
from stages.training.curve import write_curve
from stages.training.loader import IGNORE_INDEX, TokenBatch
from stages.training.parameters import Training
from stages.training.strategy import TrainingContext


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    sft: Annotated[Tuning, "posttraining.sft"]


@dataclass(frozen=True)
class DialogBatches(ShuffledBatches):
    """Batches of dialogs; an item is a (prompt, response)."""

    item_name, roles = "dialog", ("dialog",)

    def __call__(self, step: int) -> Sequence[TokenBatch]:
        batch = self.pad_step(step)
        return self.micro_batcher(TokenBatch(batch.tokens, batch.targets, None))

    def tokenize(self, index: int) -> Sequence[TokenizedDialog]:
        return [tokenize_dialog(self.chat, *self.items[index])]


LOSS_SCOPE = "the response counts in the loss, the prompt does not"


def response_loss(model: Llama, batch: DialogBatch | TokenBatch) -> tuple[Tensor, dict[str, float]]:
    """Negative log-likelihood in nats, summed over the tokens of the responses."""
    return cross_entropy(model, model(batch.tokens), batch.targets, IGNORE_INDEX), {}


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """policy (a base or an earlier chat model), demonstrations -> model, curve (CSV)."""
    dialogs = load_dialogs(inputs)
    _, train_loss = finetune(config.sft, config.training, config.seed, inputs, outputs, dialogs, context, "SFT")
    return {"demonstrations": len(dialogs), "steps": config.sft.steps, "train_loss": train_loss}


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The training runs of the variants that are averaged."""
    chat = ChatFormat(bpe.load(inputs["policy"]))
    batches = DialogBatches.for_variants(chat, load_dialogs(inputs), config.sft, config.training, config.seed)
    return variant_runs(batches, config.sft, "SFT", LOSS_SCOPE)


def load_dialogs(inputs: Paths) -> list[tuple[str, str]]:
    """(prompt, response) of each demonstration."""
    demonstrations = read_records(inputs["demonstrations"] / "demonstrations.jsonl", Demonstration)
    return [(d.example.prompt, d.response) for d in demonstrations]


def finetune(
    tuning: Tuning,
    training: Training,
    seed: int,
    inputs: Paths,
    outputs: Paths,
    dialogs: Sequence[tuple[str, str]],
    context: TrainingContext,
    title: str,
) -> tuple[Llama, float]:
    """Finetunes inputs["policy"] on (prompt, response) pairs and writes outputs["model"]; also returns the loss of the
    last step, averaged over the variants."""
    chat = ChatFormat(bpe.load(inputs["policy"]))
    batches = DialogBatches.for_variants(chat, dialogs, tuning, training, seed)
    policy = load_model(inputs["policy"])
    model, histories = train_variants(policy, batches, response_loss, tuning, training, context, title)
    save_model(model, outputs["model"], inputs["policy"], context_length(inputs["policy"]), chat=True)
    if "curve" in outputs:
        write_curve(outputs["curve"], histories[0])
    return model, float(np.mean([history[-1]["loss"] for history in histories]))
