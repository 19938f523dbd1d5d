"""The value of a small data set (3.1.3): a half-trained model is annealed on 30% of it and 70% of the default mix, and
once more on the default mix only, with the learning rate decaying linearly to 0. The gain is the difference in held-out
loss. This is much cheaper than a scaling law per candidate.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages import statistics
from stages.interface import Metrics, Section, StageError
from stages.model.llama import Llama, LlamaConfig
from stages.pretraining import initial
from stages.training.language_modelling import MixtureBatches, next_token_loss
from stages.training.loader import Mixture, Split, TokenShards
from stages.training.loop import train
from stages.training.optimizer import OptimizerState
from stages.training.schedule import Schedule, count_steps
from stages.training.strategy import TrainingContext

NEW = "new"
"""Name of the data set's bucket."""


class Valuation(Section):
    """How the value of a data set is measured."""

    trained: float = Field(default=0.5, gt=0, lt=1)
    """Share of the initial phase that the model is trained for (paper 3.1.3: a 50% trained model)."""
    share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the new data set in annealing; the rest is the default mix (paper 3.1.3: 30%)."""


@dataclass(frozen=True)
class AnnealingStart:
    """A half-trained model, its optimizer state, and the last learning rate of its schedule."""

    model: Llama
    optimizer_state: OptimizerState
    learning_rate: float


class ExtendedShards(TokenShards):
    """Token shards with the additional bucket NEW, which holds `tokens` [N]."""

    def __init__(self, directory: Path, tokens: np.ndarray) -> None:
        super().__init__(directory)
        self.new = np.asarray(tokens, dtype=self.index["dtype"])

    def tokens(self, split: Split, bucket: str) -> np.ndarray:
        return self.new if bucket == NEW else super().tokens(split, bucket)

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}/{hashlib.sha256(self.new.tobytes()).hexdigest()}"


def train_half(
    config: initial.Config, shards: TokenShards, member: Mapping[str, Any], share: float, context: TrainingContext
) -> AnnealingStart:
    """Trains a member as `pretraining.initial` does, for the first `share` of the steps."""
    shape = LlamaConfig(**member["config"])
    batches = initial.make_phase_batches(config, shards, member)
    schedule = initial.make_schedule(config, shape, sum(batches.steps))
    steps = max(1, round(share * schedule.steps))
    model = Llama(shape).init_weights(config.seed)
    result = train(
        model,
        batches,
        next_token_loss,
        schedule,
        config.training,
        scratch=context.scratch / "half-trained",
        context=context,
        title="half-trained model",
        max_steps=steps,
        return_optimizer_state=True,
    )
    return AnnealingStart(model, result.optimizer_state, schedule(steps - 1))


def plan_annealing(new: np.ndarray, config: initial.Config, tokens: float, valuation: Valuation) -> tuple[int, int]:
    """(batch size, steps) of annealing on `tokens` tokens; StageError if no sequence would come from `new` [N]."""
    length = config.pretraining.length
    if len(new) <= length:
        raise StageError(f"the new data have {len(new)} tokens; one window takes {length + 1}: give more of them")
    batch_size = max(1, config.pretraining.batch_tokens // length)
    steps = count_steps(tokens, batch_size * length)
    sequences = min(Mixture.CYCLE, steps * batch_size)
    if round(valuation.share * sequences) < 1:
        raise StageError(
            f"a share of {valuation.share:g} of {sequences:,} sequences is none; give {1 / sequences:.1g} or more"
        )
    return batch_size, steps


def add_bucket(shares: Mapping[str, float], bucket: str, share: float) -> dict[str, float]:
    """The mix with `share` of a new bucket; the other shares are scaled down."""
    return {name: (1 - share) * value for name, value in shares.items()} | {bucket: share}


def measure_value(
    new: np.ndarray,
    start: AnnealingStart,
    shards: TokenShards,
    config: initial.Config,
    tokens: float,
    valuation: Valuation,
    context: TrainingContext,
) -> Metrics:
    """The gain of annealing `start` with the tokens `new` [N] over annealing it without, in nats per token.

    Both runs take `tokens` tokens, in equal steps at equal learning rates. `gain` is the loss without minus the loss
    with the new data, on held-out windows of the default mix; `gain_by_bucket` is that on each bucket. Above 0 the data
    help. The intervals are over windows, paired; they do not cover the variation over seeds.
    Raises StageError if there are too few tokens for one window.
    """
    length, shares = config.pretraining.length, config.mix.shares()
    batch_size, steps = plan_annealing(new, config, tokens, valuation)
    extended = ExtendedShards(shards.directory, new)

    def anneal(title: str, shares: Mapping[str, float]) -> tuple[Llama, Mixture]:
        model = copy.deepcopy(start.model)
        # The shares are exact also for fewer samples than a full cycle.
        cycle = min(Mixture.CYCLE, steps * batch_size)
        mixture = Mixture(extended, "train", shares, length, config.seed + 200, cycle=cycle)
        batches = MixtureBatches(mixture, batch_size, config.training.micro_tokens)
        train(
            model,
            batches,
            next_token_loss,
            Schedule(start.learning_rate, steps, decay="linear"),
            config.training,
            scratch=context.scratch / title,
            context=context,
            title=title,
            optimizer_state=start.optimizer_state,
        )
        return model, mixture

    without, _ = anneal("default mix", shares)
    with_new, mixture = anneal("with the new data", add_bucket(shares, NEW, valuation.share))

    def compare(shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
        validation = replace(config.make_validation(shards), shares=shares)
        losses_without, losses_with = validation.losses(without), validation.losses(with_new)
        return {
            "gain": statistics.mean(losses_without - losses_with),
            "loss_without": statistics.mean(losses_without),
            "loss_with": statistics.mean(losses_with),
        }

    default_mix = compare(shares)
    by_bucket = {bucket: compare({bucket: 1.0}) for bucket, share in shares.items() if share > 0}
    return {
        "tokens": steps * batch_size * length,
        "new_tokens": len(new),
        "new_epochs": mixture.epochs(steps * batch_size)[NEW],
        "rate": start.learning_rate,
        **default_mix,
        **{f"{key}_by_bucket": {name: values[key] for name, values in by_bucket.items()} for key in default_mix},
    }


def held_out_documents(shards: TokenShards) -> set[bytes]:
    """The tokens of each held-out document with its boundary tokens, as bytes."""
    documents = set()
    for bucket, count in shards.counts("validation").items():
        if count:
            tokens = np.asarray(shards.tokens("validation", bucket))
            for document in np.split(tokens, np.flatnonzero(tokens == shards.begin_of_text))[1:]:
                documents.add(document.tobytes())
    return documents
