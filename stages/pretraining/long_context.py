"""Long-context training (3.4.2): the sequence length rises in steps, each only after the one before has been mastered.

The gate asks two things of the model: its short-context loss has recovered, and needles are found up to the present
length. A length that is not mastered within `segments` segments ends the phase, and the gate's log says so: the model
keeps what it has learnt there, and its context length is the last one mastered, or what it was pretrained at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator

from stages import statistics
from stages.interface import Metrics, Paths, Section, StageError
from stages.model.files import load_model, save_model
from stages.model.llama import Llama
from stages.pretraining.needles import needle_accuracy
from stages.pretraining.phase import Pretraining, Validation, member_of
from stages.scaling.ladder import LearningRate
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import Mix
from stages.training import spikes
from stages.training.batches import History, TrainingRun
from stages.training.curve import write_curve
from stages.training.language_modelling import LOSS_SCOPE, MixtureBatches, next_token_loss
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import train
from stages.training.optimizer import OptimizerState, load_optimizer_state, save_optimizer_state
from stages.training.parameters import Training
from stages.training.schedule import Schedule
from stages.training.strategy import TrainingContext


class LongContext(Section):
    """How the context grows."""

    rate: float = Field(gt=0, le=1)
    """Learning rate, as a share of the peak (assumption; the paper gives none for this phase)."""
    lengths: list[Annotated[int, Field(ge=16)]] = Field(min_length=1)
    """Sequence lengths, ascending (paper 3.4.2: six stages from 8K to 128K; those between are not given)."""
    segments: int = Field(ge=1)
    """Segments a length may take before it counts as not mastered; a segment is the phase's tokens divided by the
    number of lengths (assumption)."""
    loss_tolerance: float = Field(ge=0)
    """By how much, in nats, the short-context loss may lie above where the phase began (paper 3.4.2: recovered
    completely)."""
    needle_threshold: float = Field(ge=0, le=1)
    """Share of needles to be found at every length up to the present one (paper 3.4.2: all)."""
    needles: int = Field(ge=1)
    """Haystacks per length and depth (assumption)."""

    @field_validator("lengths")
    @classmethod
    def _ascend(cls, lengths: list[int]) -> list[int]:
        if lengths != sorted(set(lengths)):
            raise ValueError("the lengths must ascend")
        return lengths


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    mix: Annotated[Mix, "mix"]
    training: Annotated[Training, "training"]
    learning_rate: Annotated[LearningRate, "learning_rate"]
    pretraining: Annotated[Pretraining, "pretraining.shared"]
    long_context: Annotated[LongContext, "pretraining.long_context"]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """tokens, tokenizer, herd, model -> model, each with the optimizer's moments beside it, and curve (CSV)."""
    settings = config.long_context
    if settings.lengths[0] <= config.pretraining.length:
        raise StageError(
            f"pretraining.long_context.lengths: {settings.lengths[0]} is not above pretraining.shared.length, "
            f"{config.pretraining.length}: the context would not grow"
        )
    shards = TokenShards(inputs["tokens"])
    chat = ChatFormat(bpe.load(inputs["tokenizer"]))
    model, optimizer_state = load_model(inputs["model"]), load_optimizer_state(inputs["model"])
    plan = member_of(inputs["herd"], context.item["member"])
    lengths = [config.pretraining.length, *settings.lengths]
    strategy = context.strategy
    short = Validation(shards, config.mix.shares(), config.pretraining, config.training, config.seed, strategy)
    before = short.losses(model)
    history: History = []
    log: list[dict[str, Any]] = []
    reached = config.pretraining.length
    for rung, length in enumerate(settings.lengths, start=1):
        passed = False
        for segment in range(settings.segments):
            rows, optimizer_state = train_segment(
                config, context, model, optimizer_state, shards, plan, length, len(log), history
            )
            history += rows
            loss = statistics.mean(short.losses(model) - before)
            found = needle_accuracy(
                model, chat, lengths[: rung + 1], settings.needles, config.seed, config.training, strategy
            )
            worst = min(
                sum(r["accuracy"] for r in found if r["length"] == each) / len({r["depth"] for r in found})
                for each in lengths[: rung + 1]
            )
            recovered, solved = loss["value"] <= settings.loss_tolerance, worst >= settings.needle_threshold
            passed = strategy.broadcast_flag(recovered and solved)
            log.append(
                {
                    "length": length,
                    "segment": segment + 1,
                    "loss_change": loss,
                    "needles": worst,
                    "recovered": recovered,
                    "solved": solved,
                    "passed": passed,
                }
            )
            if passed:
                break
        if not passed:
            context.note(
                f"length {length} was not mastered (needles {worst:.2f}, short-context loss {loss['value']:+.4f}): "
                f"the context grows no further, {reached} tokens it is"
            )
            break
        reached = length
    context.table("gate", [{**row, "loss_change": row["loss_change"]["value"]} for row in log])
    save_model(model, outputs["model"], inputs["tokenizer"], reached)
    save_optimizer_state(optimizer_state or {}, outputs["model"])
    write_curve(outputs["curve"], history)
    return {
        "gate": log,
        "gates_passed": sum(row["passed"] for row in log),
        "lengths": len(settings.lengths),
        "context_length": reached,
        "trained_length": log[-1]["length"],
        "spikes": spikes.count_spikes(history),
        "needles": found,
        "short_loss_change": loss,
    }


def train_segment(
    config: Config,
    context: TrainingContext,
    model: Llama,
    optimizer_state: OptimizerState | None,
    shards: TokenShards,
    plan: Mapping[str, Any],
    length: int,
    number: int,
    history: History,
) -> tuple[History, OptimizerState]:
    """Trains one segment at `length`; its rows continue the curve in `history`."""
    steps, batches = segment_batches(config, shards, plan, length, number)
    rate = config.learning_rate.at(model.config.parameters) * config.long_context.rate
    rows, _, optimizer_state = train(
        model,
        batches,
        next_token_loss,
        Schedule(rate, steps, decay="constant"),
        config.training,
        scratch=context.scratch / f"segment-{number}",
        context=context,
        title=f"length {length}",
        first_step=len(history),
        optimizer_state=optimizer_state,
        return_optimizer_state=True,
    )
    step, seen = (history[-1]["step"], history[-1]["tokens"]) if history else (0, 0)
    return [row | {"step": row["step"] + step, "tokens": row["tokens"] + seen} for row in rows], optimizer_state


def segment_batches(
    config: Config, shards: TokenShards, plan: Mapping[str, Any], length: int, number: int
) -> tuple[int, MixtureBatches]:
    """Steps and batches of segment number `number` of the phase, which is at `length`."""
    tokens = plan["tokens"] * config.pretraining.long_context / len(config.long_context.lengths)
    size = max(1, config.pretraining.batch_tokens // length)
    mixture = Mixture(shards, "train", config.mix.shares(), length, config.seed + 10 + number)
    return max(1, round(tokens / (size * length))), MixtureBatches(mixture, size, config.training.micro_tokens)


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The segments that were trained: which lengths they had the gate decided."""
    if metrics is None:
        raise StageError("the gate decides what lengths are trained: nothing can be looked at before the stage has run")
    shards, plan = TokenShards(inputs["tokens"]), member_of(inputs["herd"], item["member"])
    found = []
    for number, row in enumerate(metrics["gate"]):
        steps, batches = segment_batches(config, shards, plan, row["length"], number)
        found.append(TrainingRun(f"length {row['length']}, segment {row['segment']}", batches, steps, LOSS_SCOPE))
    return found
