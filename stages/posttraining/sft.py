"""Supervised finetuning (4.1.3): cross-entropy on the responses, the prompts masked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from stages.interface import Context, Metrics, Paths
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import Llama
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Demonstration, read_rows
from stages.posttraining.sequences import Rows, Share, Shuffled, ShuffledBatches, content_digest, pad, row, shown
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.compiled import cross_entropy
from stages.training.curve import write_curve
from stages.training.loader import IGNORE, TokenBatch
from stages.training.loop import Run, Training
from stages.training.sample import Sample


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    sft: Annotated[Tuning, "posttraining.sft"]


@dataclass(frozen=True)
class DialogBatches(ShuffledBatches):
    """Batches of prompts with their responses."""

    dialogs: Sequence[tuple[str, str]]

    def __call__(self, step: int) -> Sequence[TokenBatch]:
        chosen = [self.dialogs[index] for index in self.order.rows(step)]
        rows = pad([row(self.chat, prompt, response) for prompt, response in chosen], self.chat.pad)
        return self.share(TokenBatch(rows.tokens, rows.targets, None))

    def samples(self, step: int) -> Iterator[Sample]:
        """Each dialog of a step: its response counts in the loss."""
        for index in self.order.rows(step):
            dialog = shown(*row(self.chat, *self.dialogs[index]))
            yield Sample(f"dialog {index} of {len(self.dialogs)}", {"dialog": dialog})


COUNTS = "the response counts in the loss, the prompt does not"


def response_loss(model: Llama, batch: Rows | TokenBatch) -> tuple[Tensor, dict[str, float]]:
    """Negative log-likelihood in nats, summed over the responses' tokens."""
    return cross_entropy(model, model(batch.tokens), batch.targets, IGNORE), {}


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """policy (a base or an earlier chat model), demonstrations -> model, curve (CSV)."""
    dialogs = demonstrated(inputs)
    model, losses = finetune(config.sft, config.training, config.seed, inputs, outputs, dialogs, context, "SFT")
    del model
    return {"demonstrations": len(dialogs), "steps": config.sft.steps, "train_loss": losses}


def runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> Sequence[Run]:
    """The variants that are averaged."""
    chat = ChatFormat(bpe.load(inputs["policy"]))
    batches = dialog_batches(config.sft, config.training, config.seed, chat, demonstrated(inputs))
    return variant_runs(batches, config.sft, "SFT", COUNTS)


def demonstrated(inputs: Paths) -> list[tuple[str, str]]:
    """(prompt, response) of each demonstration."""
    demonstrations = read_rows(inputs["demonstrations"] / "demonstrations.jsonl", Demonstration)
    return [(d.example.prompt, d.response) for d in demonstrations]


def dialog_batches(
    tuning: Tuning, training: Training, seed: int, chat: ChatFormat, dialogs: Sequence[tuple[str, str]]
) -> Callable[[int], DialogBatches]:
    """The batches of each variant."""
    content, share = content_digest(dialogs), Share(training.micro_tokens)
    return lambda variant: DialogBatches(
        chat, Shuffled(len(dialogs), tuning.batch, seed + variant, content), share, dialogs
    )


def finetune(
    tuning: Tuning,
    training: Training,
    seed: int,
    inputs: Paths,
    outputs: Paths,
    dialogs: Sequence[tuple[str, str]],
    context: Context,
    title: str,
) -> tuple[Llama, float]:
    """Finetunes inputs["policy"] on (prompt, response) pairs, writes outputs["model"]; with its last training loss."""
    chat = ChatFormat(bpe.load(inputs["policy"]))
    batches = dialog_batches(tuning, training, seed, chat, dialogs)
    model, histories = train_variants(
        load_model(inputs["policy"]),
        batches,
        response_loss,
        tuning,
        training,
        scratch=context.scratch / title,
        context=context,
        title=title,
    )
    save_model(model, outputs["model"], inputs["policy"], context_length(inputs["policy"]), chat=True)
    if "curve" in outputs:
        write_curve(outputs["curve"], histories[0])
    return model, float(np.mean([history[-1]["loss"] for history in histories]))
