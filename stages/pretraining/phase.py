"""What the phases of pretraining share (3.4): parameters, a member's entry of the herd, batches, held-out loss."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from stages import statistics
from stages.interface import Section
from stages.model.llama import Llama
from stages.scaling.ladder import LearningRate
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import MixtureBatches, held_out_losses, validation_mixture
from stages.training.loader import Mixture, Split, TokenShards
from stages.training.parameters import Training
from stages.training.strategy import SINGLE_PROCESS, Strategy

MAX_LENGTH = 10**9
"""Tokens; no sequence is longer, and a typing error is."""


def check_batch(length: int, batch_tokens: int) -> None:
    """Raises ValueError unless a batch has at least one sequence."""
    if batch_tokens < length:
        raise ValueError(f"batch_tokens {batch_tokens} is less than the length {length} of one sequence")


class Pretraining(Section):
    """How a member's tokens are divided among the phases, and how its loss is measured."""

    initial: float = Field(gt=0, lt=1)
    """Share of the tokens for the initial phase (paper 3.4: all but the other two)."""
    long_context: float = Field(gt=0, lt=1)
    """Share of the tokens for the long-context phase (paper 3.4.2: about 800B of 15.6T)."""
    annealing: float = Field(gt=0, lt=1)
    """Share of the tokens for annealing (assumption; paper 3.4.3 prints 40M tokens, 2.5 steps, in doubt)."""
    epochs: float = Field(gt=0)
    """Most passes over a bucket in initial pretraining. If its share of the mix needs more, the other buckets replace
    it (assumption; the paper up-samples and names no limit)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows the loss is measured on (assumption)."""
    length: int = Field(ge=16, le=MAX_LENGTH)
    """Tokens per sequence of the initial phase, and of every held-out window (paper 3.4.1: 4,096, then 8,192)."""
    batch_tokens: int = Field(gt=0)
    """Tokens per step after the ramp (paper 3.4.1: 16M)."""

    @model_validator(mode="after")
    def _check(self) -> "Pretraining":
        check_batch(self.length, self.batch_tokens)
        total = self.initial + self.long_context + self.annealing
        if abs(total - 1) > 1e-9:
            raise ValueError(f"initial, long_context and annealing sum to {total:g}, not to 1")
        return self


def load_member(herd: Path, member: str) -> dict[str, Any]:
    """A member's entry of the herd file: its model configuration and its tokens."""
    plan: dict[str, Any] = json.loads(herd.read_text())["members"][member]
    return plan


@dataclass(frozen=True)
class PhaseConfig:
    """The parameters that every phase reads."""

    seed: Annotated[int, "seed"]
    mix: Annotated[Mix, "mix"]
    training: Annotated[Training, "training"]
    learning_rate: Annotated[LearningRate, "learning_rate"]
    pretraining: Annotated[Pretraining, "pretraining.shared"]

    def make_batches(
        self, shards: TokenShards, split: Split, shares: Mapping[str, float], seed: int, length: int, batch_tokens: int
    ) -> MixtureBatches:
        """Batches of about `batch_tokens` tokens, in sequences of `length`."""
        mixture = Mixture(shards, split, shares, length, seed)
        return MixtureBatches(mixture, max(1, batch_tokens // length), self.training.micro_tokens)

    def make_validation(self, shards: TokenShards, strategy: Strategy = SINGLE_PROCESS) -> "Validation":
        """The held-out loss on the default mix."""
        return Validation(shards, self.mix.shares(), self.pretraining, self.training, self.seed, strategy)


@dataclass(frozen=True)
class Validation:
    """The held-out loss: measured on the same windows for every model of one corpus."""

    shards: TokenShards
    shares: Mapping[str, float]
    settings: Pretraining
    training: Training
    seed: int
    strategy: Strategy = SINGLE_PROCESS

    def losses(self, model: Llama) -> np.ndarray:
        """Loss of each window of the mix, in nats per token, [windows]."""
        (losses,) = self._losses(model, self.shares)
        return losses

    def by_bucket(self, model: Llama) -> dict[str, dict[str, float]]:
        """The loss on each bucket of the mix, with its interval over windows."""
        buckets = [bucket for bucket, share in self.shares.items() if share > 0]
        losses = self._losses(model, *({bucket: 1.0} for bucket in buckets))
        return {bucket: statistics.mean(each) for bucket, each in zip(buckets, losses, strict=True)}

    def _losses(self, model: Llama, *mixes: Mapping[str, float]) -> list[np.ndarray]:
        mixtures = [validation_mixture(self.shards, shares, self.settings.length, self.seed) for shares in mixes]
        return held_out_losses(model, mixtures, self.settings.validation_windows, self.training, self.strategy)
