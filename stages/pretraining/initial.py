"""Initial pretraining (3.4.1): warm-up and cosine decay, and a ramp of batch size and sequence length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from stages import statistics
from stages.interface import Metrics, Paths, Section
from stages.model.files import save_model
from stages.model.llama import Llama, LlamaConfig
from stages.pretraining.phase import MAX_LENGTH, PhaseConfig, check_batch, load_member
from stages.training import spikes
from stages.training.batches import TrainingRun
from stages.training.curve import tail_mean, write_curve
from stages.training.language_modelling import LOSS_SCOPE, MixtureBatches, next_token_loss
from stages.training.loader import TokenBatch, TokenShards
from stages.training.loop import train
from stages.training.optimizer import save_optimizer_state
from stages.training.sample import Sample
from stages.training.schedule import Schedule, count_steps
from stages.training.strategy import TrainingContext
from stages.training.upsampling import limit_epochs


class Ramp(Section):
    """One part of the ramp."""

    share: float = Field(gt=0, le=1)
    """Share of the phase's tokens (paper 3.4.1: 252M, then up to 2.87T, then the rest)."""
    length: int = Field(ge=16, le=MAX_LENGTH)
    """Tokens per sequence (paper 3.4.1: 4,096, then 8,192)."""
    batch_tokens: int = Field(gt=0)
    """Tokens per step (paper 3.4.1: 4M, 8M, 16M)."""

    @model_validator(mode="after")
    def _check_batch(self) -> "Ramp":
        check_batch(self.length, self.batch_tokens)
        return self


class Initial(Section):
    """The schedule of initial pretraining."""

    warmup_share: float = Field(gt=0, lt=1)
    """Share of the steps in which the learning rate rises (paper 3.4.1: 8,000 of 1,200,000 steps)."""
    floor: float = Field(ge=0, lt=1)
    """Final learning rate, as a share of the peak (paper 3.4.1: 8e-7 of 8e-5)."""
    ramp: list[Ramp] = Field(min_length=1)
    """The parts in order; their shares sum to 1."""

    @field_validator("ramp")
    @classmethod
    def _check_sum(cls, ramp: list[Ramp]) -> list[Ramp]:
        total = sum(part.share for part in ramp)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of the ramp sum to {total:g}, not to 1")
        return ramp


@dataclass(frozen=True)
class Config(PhaseConfig):
    initial: Annotated[Initial, "pretraining.initial"]


@dataclass(frozen=True)
class RampBatches:
    """The batches of the parts of the ramp, one part after the other."""

    parts: Sequence[MixtureBatches]
    steps: Sequence[int]
    few_shapes: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        return "/".join(f"{part.fingerprint}x{steps}" for part, steps in zip(self.parts, self.steps, strict=True))

    def __call__(self, step: int) -> Sequence[TokenBatch]:
        part, step = self.locate(step)
        return part(step)

    def for_rank(self, rank: int, world: int, pieces: int = 1) -> "RampBatches":
        return replace(self, parts=[part.for_rank(rank, world, pieces) for part in self.parts])

    def samples(self, step: int) -> Iterator[Sample]:
        part, step = self.locate(step)
        return part.samples(step)

    def locate(self, step: int) -> tuple[MixtureBatches, int]:
        """The part of the ramp that contains a step, and the step's number in it; raises IndexError past the end."""
        for part, steps in zip(self.parts, self.steps, strict=True):
            if 0 <= step < steps:
                return part, step
            step -= steps
        raise IndexError(f"the ramp has {sum(self.steps)} steps")


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """tokens, tokenizer, herd -> model (with the optimizer state), curve (CSV)."""
    shards = TokenShards(inputs["tokens"])
    member = load_member(inputs["herd"], context.item["member"])
    shape = LlamaConfig(**member["config"])
    batches = make_phase_batches(config, shards, member)
    steps = sum(batches.steps)
    schedule = make_schedule(config, shape, steps)
    with context.strategy.init_device:
        model = Llama(shape).init_weights(config.seed)
    context.note(f"{shape.parameters:,} parameters, {steps:,} steps, peak learning rate {schedule.peak:.2g}")
    history, _, optimizer_state = train(
        model,
        batches,
        next_token_loss,
        schedule,
        config.training,
        return_optimizer_state=True,
        scratch=context.scratch,
        context=context,
        title="initial",
    )
    save_model(model, outputs["model"], inputs["tokenizer"], config.pretraining.length)
    save_optimizer_state(optimizer_state, outputs["model"])
    write_curve(outputs["curve"], history)
    validation = config.make_validation(shards, context.strategy)
    tokens: dict[str, int] = dict.fromkeys(config.mix.shares(), 0)
    epochs: dict[str, float] = dict.fromkeys(config.mix.shares(), 0.0)
    for part, count in zip(batches.parts, batches.steps, strict=True):
        for bucket, num_tokens in part.mixture.tokens_drawn(count * part.size).items():
            tokens[bucket] += num_tokens
        for bucket, num_epochs in part.mixture.epochs(count * part.size).items():
            epochs[bucket] += num_epochs
    return {
        "parameters": shape.parameters,
        "steps": steps,
        "tokens": sum(tokens.values()),
        "tokens_by_bucket": tokens,
        "epochs_by_bucket": epochs,
        "epochs_allowed": config.pretraining.epochs,
        "peak_learning_rate": schedule.peak,
        "train_loss": tail_mean(history),
        "spikes": spikes.count_spikes(history),
        "validation_loss": statistics.mean(validation.losses(model)),
        "validation_loss_by_bucket": validation.by_bucket(model),
    }


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The one training of the phase."""
    batches = make_phase_batches(config, TokenShards(inputs["tokens"]), load_member(inputs["herd"], item["member"]))
    return [TrainingRun("initial", batches, sum(batches.steps), LOSS_SCOPE)]


def make_schedule(config: Config, shape: LlamaConfig, steps: int) -> Schedule:
    """Warm-up and cosine decay over `steps` steps, at the peak learning rate of the model's size."""
    warmup = max(1, round(config.initial.warmup_share * steps))
    return Schedule(config.learning_rate.at(shape.parameters), steps, warmup, "cosine", config.initial.floor)


def make_phase_batches(config: Config, shards: TokenShards, member: Mapping[str, Any]) -> RampBatches:
    """The batches of a member's initial phase."""
    return make_ramp_batches(config, shards, member["tokens"] * config.pretraining.initial)


def make_ramp_batches(config: Config, shards: TokenShards, tokens: float) -> RampBatches:
    """The batches of a phase of `tokens` tokens; each part of the ramp has its own seed."""
    shares = limit_epochs(config.mix.shares(), shards.counts("train"), tokens, config.pretraining.epochs)
    parts, steps = [], []
    for number, ramp in enumerate(config.initial.ramp):
        part = config.make_batches(shards, "train", shares, config.seed + number, ramp.length, ramp.batch_tokens)
        parts.append(part)
        steps.append(count_steps(tokens * ramp.share, part.batch_tokens))
    return RampBatches(parts, steps)
