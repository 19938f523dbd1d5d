"""What a small data set is worth (3.1.3): a half-trained model is annealed on 30% of it and 70% of the default mix, the
learning rate going linearly to 0; and once more on the default mix alone. The gain is the difference of the two in
held-out loss, far cheaper than a scaling law for every candidate.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages import statistics
from stages.interface import Metrics, Section, StageError
from stages.model.llama import Llama, LlamaConfig
from stages.pretraining import initial
from stages.pretraining.phase import Validation
from stages.training.language_modelling import MixtureBatches, next_token_loss
from stages.training.loader import Mixture, Split, TokenShards
from stages.training.loop import train
from stages.training.optimizer import OptimizerState
from stages.training.schedule import Schedule
from stages.training.strategy import TrainingContext

NEW = "new"
"""The bucket that the data set is while it is valued."""


class Valuation(Section):
    """How a data set is valued."""

    trained: float = Field(default=0.5, gt=0, lt=1)
    """Share of the initial phase that the model has behind it (paper 3.1.3: a 50% trained model)."""
    share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tokens that come from the new data set, the rest from the default mix (paper 3.1.3: 30%)."""


@dataclass(frozen=True)
class Start:
    """Where annealing begins: a half-trained model, AdamW's state, and the learning rate its schedule had reached."""

    model: Llama
    optimizer_state: OptimizerState
    rate: float


class WithNew(TokenShards):
    """Token shards with one more bucket, NEW, which holds `tokens` [N]."""

    def __init__(self, directory: Path, tokens: np.ndarray) -> None:
        super().__init__(directory)
        self.new = np.asarray(tokens, dtype=self.index["dtype"])

    def tokens(self, split: Split, bucket: str) -> np.ndarray:
        return self.new if bucket == NEW else super().tokens(split, bucket)

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}/{hashlib.sha256(self.new.tobytes()).hexdigest()}"


def half_trained(
    config: initial.Config, shards: TokenShards, plan: Mapping[str, Any], valuation: Valuation, context: TrainingContext
) -> Start:
    """A member after the first part of its initial phase, as `pretraining.initial` trains it."""
    size = LlamaConfig(**plan["config"])
    batches = initial.phase_batches(config, shards, plan)
    schedule = initial.schedule_of(config, size, sum(batches.steps))
    steps = max(1, round(valuation.trained * schedule.steps))
    model = Llama(size).init_weights(config.seed)
    done = train(
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
    return Start(model, done.optimizer_state, schedule(steps - 1))


def enough(new: np.ndarray, config: initial.Config, tokens: float, valuation: Valuation) -> tuple[int, int]:
    """Sequences a step, and steps, of annealing on `tokens` tokens; StageError where none would be of `new` [N]."""
    length = config.pretraining.length
    if len(new) <= length:
        raise StageError(f"the new data have {len(new)} tokens; one window takes {length + 1}: give more of them")
    size = max(1, config.pretraining.batch_tokens // length)
    steps = max(1, round(tokens / (size * length)))
    drawn = min(Mixture.CYCLE, steps * size)
    if round(valuation.share * drawn) < 1:
        raise StageError(f"a share of {valuation.share:g} is no sequence of {drawn:,}; give {1 / drawn:.1g} or more")
    return size, steps


def value(
    new: np.ndarray,
    start: Start,
    shards: TokenShards,
    config: initial.Config,
    tokens: float,
    valuation: Valuation,
    context: TrainingContext,
) -> Metrics:
    """The gain of annealing `start` with the tokens `new` [N] over annealing it without, in nats per token.

    Both runs take `tokens` tokens, the same number of steps at the same rates. `gain` is the loss without minus the
    loss with, on held-out windows of the default mix, `gain_by_bucket` on those of each bucket: above 0 the data help.
    Intervals are over windows, paired: they tell what was measured of these two runs, not how another seed would do.
    Raises StageError where there are too few tokens for one window.
    """
    length, shares = config.pretraining.length, config.mix.shares()
    size, steps = enough(new, config, tokens, valuation)
    mixed = {bucket: (1 - valuation.share) * share for bucket, share in shares.items()} | {NEW: valuation.share}
    extended = WithNew(shards.directory, new)

    def annealed(title: str, shares: Mapping[str, float]) -> tuple[Llama, Mixture]:
        model = copy.deepcopy(start.model)
        # A run of fewer samples than a cycle has the shares exactly too.
        cycle = min(Mixture.CYCLE, steps * size)
        mixture = Mixture(extended, "train", shares, length, config.seed + 200, cycle=cycle)
        batches = MixtureBatches(mixture, size, config.training.micro_tokens)
        train(
            model,
            batches,
            next_token_loss,
            Schedule(start.rate, steps, decay="linear"),
            config.training,
            scratch=context.scratch / title,
            context=context,
            title=title,
            optimizer_state=start.optimizer_state,
        )
        return model, mixture

    without, _ = annealed("default mix", shares)
    with_new, mixture = annealed("with the new data", mixed)

    def compare(shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
        held_out = Validation(shards, shares, config.pretraining, config.training, config.seed)
        losses = [held_out.losses(model) for model in (without, with_new)]
        return {
            "gain": statistics.mean(losses[0] - losses[1]),
            "without": statistics.mean(losses[0]),
            "with": statistics.mean(losses[1]),
        }

    whole = compare(shares)
    each = {bucket: compare({bucket: 1.0}) for bucket, share in shares.items() if share > 0}
    return {
        "tokens": steps * size * length,
        "new_tokens": len(new),
        "new_epochs": mixture.epochs(steps * size)[NEW],
        "rate": start.rate,
        "gain": whole["gain"],
        "loss_without": whole["without"],
        "loss_with": whole["with"],
        "gain_by_bucket": {bucket: found["gain"] for bucket, found in each.items()},
        "loss_without_by_bucket": {bucket: found["without"] for bucket, found in each.items()},
        "loss_with_by_bucket": {bucket: found["with"] for bucket, found in each.items()},
    }


def held_out_documents(shards: TokenShards) -> set[bytes]:
    """The tokens of each held-out document, its boundary tokens among them, as bytes."""
    found = set()
    for bucket, count in shards.counts("validation").items():
        if count:
            tokens = np.asarray(shards.tokens("validation", bucket))
            for document in np.split(tokens, np.flatnonzero(tokens == shards.begin_of_text))[1:]:
                found.add(document.tobytes())
    return found
