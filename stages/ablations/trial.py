"""What all ablations share: one small model trained on some tokens, runs over variants and seeds, and their comparison.

A seed decides the initial weights and the order of the data, for all variants alike; so variants are compared seed by
seed, and the interval is over seeds.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, TypeVar

import numpy as np
from pydantic import Field

from stages import statistics
from stages.interface import Context, Metrics, Record, Section
from stages.model.llama import Llama, LlamaConfig
from stages.scaling.ladder import Architecture, LearningRate, Shape
from stages.training.batches import Loss
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import TrainingResult, train
from stages.training.null_context import NullContext
from stages.training.optimizer import OptimizerState
from stages.training.parameters import Training
from stages.training.schedule import Schedule

Values = dict[str, Any]
NATS = "nats per token"


class Trials(Section):
    """How the models of an ablation are trained and measured."""

    seeds: int = Field(ge=2)
    """Runs of each variant (assumption; the intervals are Student's over them)."""
    shape: Shape
    """The model."""
    tokens: float = Field(gt=0)
    """Training tokens of each run (assumption)."""
    length: int = Field(ge=16)
    """Tokens per sequence, in training and in the held-out windows (assumption)."""
    batch_tokens: int = Field(gt=0)
    """Tokens per step (assumption)."""
    warmup_share: float = Field(gt=0, lt=1)
    """Share of the steps in which the learning rate rises (assumption; paper 3.2.1: 2,000 steps)."""
    floor: float = Field(ge=0, le=1)
    """Where the cosine ends, as a share of the peak (paper 3.2.1: 0.1)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows the loss is measured on (assumption)."""

    @property
    def batch(self) -> int:
        """Sequences per step."""
        return max(1, self.batch_tokens // self.length)

    def steps(self, tokens: float) -> int:
        """Steps that so many tokens make."""
        return max(1, round(tokens / (self.batch * self.length)))


@dataclass(frozen=True)
class TrialConfig:
    """What every ablation's Config holds besides its own section."""

    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    architecture: Annotated[Architecture, "architecture"]
    learning_rate: Annotated[LearningRate, "learning_rate"]

    def seeds(self, trials: Trials) -> range:
        """The seeds of the runs."""
        return range(self.seed, self.seed + trials.seeds)


class Job(Protocol):
    """One run of an ablation: everything a worker process needs to know of it."""

    @property
    def variant(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def scratch(self) -> Path: ...


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Trial:
    """One model trained on a mixture of token shards: a job, if no more than that is to be said of it."""

    config: TrialConfig
    trials: Trials
    variant: str
    seed: int
    scratch: Path
    """Of this run alone: its training state and its result."""
    tokens: Path
    shares: Mapping[str, float]
    """Of the buckets of the tokens."""
    shape: LlamaConfig
    budget: float
    """Tokens."""
    mask: bool = True
    """Whether attention stops at document boundaries."""
    rate: float = 1.0
    """Peak learning rate, as a multiple of the one for a model of this size."""

    @classmethod
    def of(
        cls,
        config: TrialConfig,
        trials: Trials,
        tokens: Path,
        shares: Mapping[str, float],
        context: Context,
        **more: Any,
    ) -> Self:
        """The trial of the usual shape on the usual number of tokens, which `runs` makes variants of; `more`: fields
        of a class of trials."""
        shape = config.architecture.config(trials.shape, TokenShards(tokens).vocab_size)
        return cls(config, trials, "", config.seed, context.scratch, tokens, shares, shape, trials.tokens, **more)

    def runs(self, context: Context, measure: Callable[[Self], Values], variants: Mapping[str, Record]) -> list[Values]:
        """What `measure` finds for each seed and variant, in this order; `variants`: the fields in which each differs
        from this trial, by its name."""
        jobs = [
            replace(self, variant=variant, seed=seed, scratch=self.scratch / f"{variant}-{seed}", **own)
            for seed in self.config.seeds(self.trials)
            for variant, own in variants.items()
        ]
        return fan_out(context, measure, jobs)

    @property
    def shards(self) -> TokenShards:
        return TokenShards(self.tokens)

    def train(self, model: Llama | None = None, loss: Loss = next_token_loss) -> tuple[Llama, TrainingResult]:
        """The model after its tokens; a fresh Llama of this shape unless one is given."""
        model = model or Llama(self.shape).init_weights(self.seed)
        steps = self.trials.steps(self.budget)
        warmup = max(1, round(self.trials.warmup_share * steps))
        peak = self.config.learning_rate.at(self.shape.parameters) * self.rate
        schedule = Schedule(peak, steps, warmup, "cosine", self.trials.floor)
        mixture = Mixture(self.shards, "train", self.shares, self.trials.length, self.seed, self.mask)
        batches = MixtureBatches(mixture, self.trials.batch, self.config.training.micro_tokens)
        return model, follow(self, self.config.training, model, batches, schedule, loss=loss)

    def loss(self, model: Llama, shares: Mapping[str, float] | None = None, mask: bool = True) -> float:
        """Mean held-out loss in nats per token; the same windows for every run."""
        windows = validation_mixture(self.shards, shares or self.shares, self.trials.length, self.config.seed)
        windows.mask = mask
        (losses,) = held_out_losses(model, [windows], self.trials.validation_windows, self.config.training)
        return float(losses.mean())


def follow(
    job: Job,
    training: Training,
    model: Llama,
    batches: MixtureBatches,
    schedule: Schedule,
    title: str = "trial",
    loss: Loss = next_token_loss,
    optimizer_state: OptimizerState | None = None,
) -> TrainingResult:
    """Trains `model` in place; its partial state lies under `title` in the job's own directory."""
    scratch = job.scratch / title
    return train(
        model,
        batches,
        loss,
        schedule,
        training,
        scratch=scratch,
        context=NullContext(scratch),
        title=f"{job.variant}, {title}",
        optimizer_state=optimizer_state,
        return_optimizer_state=True,
    )


def held_out_loss(trial: Trial) -> Values:
    """Trains the model; its loss."""
    model, _ = trial.train()
    return {"loss": trial.loss(model)}


def kept(job: J, measure: Callable[[J], Values]) -> Values:
    """What `measure` finds, or found before the stage was stopped: a finished run is not done twice."""
    path = job.scratch / "result.json"
    if path.exists():
        done: Values = json.loads(path.read_text())
        return done
    values = {"variant": job.variant, "seed": job.seed} | measure(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # a result is there whole or not at all
    partial.write_text(json.dumps(values))
    partial.replace(path)
    return values


def fan_out(context: Context, measure: Callable[[J], Values], jobs: Sequence[J]) -> list[Values]:
    """What `measure` finds for each job, in their order; a finished run is not done twice."""
    return context.map("runs", partial(kept, measure=measure), jobs, kind="process")


def of(rows: Iterable[Values], variant: str, key: str) -> np.ndarray:
    """The values of one variant's runs, in the order of their seeds."""
    return np.array([row[key] for row in sorted(rows, key=lambda row: row["seed"]) if row["variant"] == variant])


def compare(rows: Iterable[Values], first: str, second: str, key: str = "loss") -> dict[str, float]:
    """first - second, seed by seed, with Student's interval over the seeds."""
    rows = list(rows)
    return statistics.mean_over_seeds(of(rows, first, key) - of(rows, second, key))


def entry(compared: str, unit: str, interval: Mapping[str, float]) -> Values:
    """A number of the ledger: what minus (or over) what, in which unit, with its interval."""
    return {"compared": compared, "unit": unit, **interval}


def findings(effect: Values, also: Sequence[Values], rows: Sequence[Values], configuration: Values) -> Metrics:
    """An ablation's metrics: its effect and what stands beside it (entries both), every run, and how they were made."""
    return {"effect": effect, "also": list(also), "runs": list(rows), "configuration": configuration}
