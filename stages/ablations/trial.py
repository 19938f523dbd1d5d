"""What all ablations share: the training of a small model, and the runs over all variants and seeds.

A seed determines the initial weights and the order of the data, equally for all variants. Variants are therefore
compared seed by seed, and the intervals are over seeds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field

from stages.ablations.effects import Values
from stages.interface import Context, Record, Section
from stages.model.llama import Llama, LlamaConfig
from stages.scaling.ladder import Architecture, LearningRate, Shape
from stages.tokenizer.corpus import Mix
from stages.training.batches import Loss
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import TrainingResult, train
from stages.training.null_context import NullContext
from stages.training.optimizer import OptimizerState
from stages.training.parameters import Training
from stages.training.schedule import Schedule, count_steps


class TrialSettings(Section):
    """How the models of an ablation are trained and measured."""

    seeds: int = Field(ge=2)
    """Seeds per variant (assumption; the intervals are Student's t over them)."""
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
    """Final learning rate of the cosine decay, as a share of the peak (paper 3.2.1: 0.1)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows that the loss is measured on (assumption)."""

    @property
    def batch_size(self) -> int:
        """Sequences per step."""
        return max(1, self.batch_tokens // self.length)

    def count_steps(self, tokens: float) -> int:
        """Steps in a budget of `tokens` tokens."""
        return count_steps(tokens, self.batch_size * self.length)


@dataclass(frozen=True)
class TrialConfig:
    """The parameters that every ablation reads besides its own section."""

    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    architecture: Annotated[Architecture, "architecture"]
    learning_rate: Annotated[LearningRate, "learning_rate"]

    def seeds(self, settings: TrialSettings) -> range:
        """The seeds of the runs."""
        return range(self.seed, self.seed + settings.seeds)


@dataclass(frozen=True)
class MixTrialConfig(TrialConfig):
    """The same for an ablation that trains on the data mix."""

    mix: Annotated[Mix, "mix"]


@dataclass(frozen=True)
class Job:
    """One run of an ablation; a worker process needs nothing else."""

    variant: str
    seed: int
    scratch: Path
    """Directory of this run: its checkpoints and its result."""

    def make_jobs(self, seeds: Sequence[int], variants: Mapping[str, Record]) -> list[Self]:
        """One job per seed and variant, in this order; `variants`: name -> the fields that differ from this job."""
        return [
            replace(self, variant=variant, seed=seed, scratch=self.scratch / f"{variant}-{seed}", **fields)
            for seed in seeds
            for variant, fields in variants.items()
        ]


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Trial(Job):
    """A job that trains one model on a mixture of token shards."""

    config: TrialConfig
    settings: TrialSettings
    tokens: Path
    shares: Mapping[str, float]
    """Shares of the buckets."""
    shape: LlamaConfig
    num_tokens: float
    document_mask: bool = True
    """Whether attention stops at document boundaries."""
    learning_rate_factor: float = 1.0
    """Multiplies the peak learning rate of the model's size."""

    @classmethod
    def create(
        cls,
        config: TrialConfig,
        settings: TrialSettings,
        tokens: Path,
        shares: Mapping[str, float],
        context: Context,
        **fields: Any,
    ) -> Self:
        """The trial with the shape and the number of tokens of `settings`; `fields` are those of a subclass."""
        shape = config.architecture.config(settings.shape, TokenShards(tokens).vocab_size)
        return cls("", config.seed, context.scratch, config, settings, tokens, shares, shape, settings.tokens, **fields)

    def run_variants(
        self, context: Context, measure: Callable[[Self], Values], variants: Mapping[str, Record]
    ) -> list[Values]:
        """The results of `measure` for each seed and variant, in this order."""
        return run_jobs(context, measure, self.make_jobs(self.config.seeds(self.settings), variants))

    @property
    def shards(self) -> TokenShards:
        return TokenShards(self.tokens)

    @property
    def description(self) -> Values:
        """What determines the results of most ablations."""
        return {
            "trials": self.settings.model_dump(),
            "parameters": self.shape.parameters,
            "tokens_sha256": self.shards.fingerprint,
        }

    def train(self, model: Llama | None = None, loss: Loss = next_token_loss) -> tuple[Llama, TrainingResult]:
        """Trains `model`, by default a new Llama of this shape, on `num_tokens` tokens."""
        model = model or Llama(self.shape).init_weights(self.seed)
        steps = self.settings.count_steps(self.num_tokens)
        warmup = max(1, round(self.settings.warmup_share * steps))
        peak = self.config.learning_rate.at(self.shape.parameters) * self.learning_rate_factor
        schedule = Schedule(peak, steps, warmup, "cosine", self.settings.floor)
        mixture = Mixture(self.shards, "train", self.shares, self.settings.length, self.seed, self.document_mask)
        batches = MixtureBatches(mixture, self.settings.batch_size, self.config.training.micro_tokens)
        return model, train_model(self, self.config.training, model, batches, schedule, loss=loss)

    def validation_loss(self, model: Llama, shares: Mapping[str, float] | None = None, mask: bool = True) -> float:
        """Mean held-out loss in nats per token, on the same windows for every run."""
        windows = validation_mixture(self.shards, shares or self.shares, self.settings.length, self.config.seed)
        windows.mask = mask
        (losses,) = held_out_losses(model, [windows], self.settings.validation_windows, self.config.training)
        return float(losses.mean())


def train_model(
    job: Job,
    training: Training,
    model: Llama,
    batches: MixtureBatches,
    schedule: Schedule,
    title: str = "trial",
    loss: Loss = next_token_loss,
    optimizer_state: OptimizerState | None = None,
) -> TrainingResult:
    """Trains `model` in place; its checkpoints are stored under `title` in the job's directory."""
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


def measure_loss(trial: Trial) -> Values:
    """Trains the model; its held-out loss."""
    model, _ = trial.train()
    return {"loss": trial.validation_loss(model)}


def measure_once(job: J, measure: Callable[[J], Values]) -> Values:
    """The result of `measure`, or the stored one if the job finished before the stage was stopped."""
    path = job.scratch / "result.json"
    if path.exists():
        stored: Values = json.loads(path.read_text())
        return stored
    values = {"variant": job.variant, "seed": job.seed} | measure(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # renamed when complete, so that a result is written atomically
    partial.write_text(json.dumps(values))
    partial.replace(path)
    return values


def run_jobs(context: Context, measure: Callable[[J], Values], jobs: Sequence[J]) -> list[Values]:
    """The results of `measure` for each job, in their order; finished jobs are not repeated."""
    return context.map("runs", partial(measure_once, measure=measure), jobs, kind="process")
