"""What the phases of pretraining share: the members' budgets, curves, and the held-out loss."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from stages import statistics
from stages.interface import Section
from stages.model.llama import Llama
from stages.training.language_modelling import held_out_losses, validation_mixture
from stages.training.loader import TokenShards
from stages.training.parameters import Training
from stages.training.strategy import SINGLE_PROCESS, Strategy


class Pretraining(Section):
    """How a member's tokens are divided between the phases, and how its loss is measured."""

    initial: float = Field(gt=0, lt=1)
    """Share of the tokens for the initial phase (paper 3.4: all but the other two)."""
    long_context: float = Field(gt=0, lt=1)
    """Share of the tokens for the long-context phase (paper 3.4.2: about 800B of 15.6T)."""
    annealing: float = Field(gt=0, lt=1)
    """Share of the tokens for annealing (assumption; paper 3.4.3 prints 40M tokens, 2.5 steps, in doubt)."""
    epochs: float = Field(gt=0)
    """Most passes over a bucket in initial pretraining: where its share of the mix would take more, the other buckets
    make up for it (assumption; the paper up-samples and names no limit)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows the loss is measured on (assumption)."""
    length: int = Field(ge=16)
    """Tokens per sequence of the initial phase, and of every held-out window (paper 3.4.1: 4,096, then 8,192)."""
    batch_tokens: int = Field(gt=0)
    """Tokens per step after the ramp (paper 3.4.1: 16M)."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> "Pretraining":
        total = self.initial + self.long_context + self.annealing
        if abs(total - 1) > 1e-9:
            raise ValueError(f"initial, long_context and annealing sum to {total:g}, not to 1")
        return self


def member_of(herd: Path, member: str) -> dict[str, Any]:
    """The fit's plan for a member: its model configuration and its tokens."""
    plan: dict[str, Any] = json.loads(herd.read_text())["members"][member]
    return plan


@dataclass(frozen=True)
class Validation:
    """What the loss is measured on: the same held-out windows for every model of one corpus."""

    shards: TokenShards
    shares: Mapping[str, float]
    settings: Pretraining
    training: Training
    seed: int
    strategy: Strategy = SINGLE_PROCESS

    def losses(self, model: Llama) -> np.ndarray:
        """Loss of each window of the mix, in nats per token."""
        (losses,) = self._losses(model, self.shares)
        return losses

    def by_bucket(self, model: Llama) -> dict[str, dict[str, float]]:
        """The loss of each bucket of the mix by itself, with its interval over windows."""
        buckets = [bucket for bucket, share in self.shares.items() if share > 0]
        losses = self._losses(model, *({bucket: 1.0} for bucket in buckets))
        return {bucket: statistics.mean(each) for bucket, each in zip(buckets, losses, strict=True)}

    def _losses(self, model: Llama, *mixes: Mapping[str, float]) -> list[np.ndarray]:
        mixtures = [validation_mixture(self.shards, shares, self.settings.length, self.seed) for shares in mixes]
        return held_out_losses(model, mixtures, self.settings.validation_windows, self.training, self.strategy)
