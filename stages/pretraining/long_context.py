"""Long-context training (3.4.2): the sequence length increases in stages, each after the previous length is mastered.

The gate requires that the short-context loss has recovered, and that needles are found at all lengths so far. The phase
ends at a length that does not pass the gate within `segments` segments. The model keeps those weights; its context
length is the last one that passed, or else the length of initial pretraining.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator

from stages import statistics
from stages.interface import Metrics, Paths, Section, StageError
from stages.model.files import load_model, save_model
from stages.pretraining.needles import measure_needles
from stages.pretraining.phase import MAX_LENGTH, PhaseConfig, load_member
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training import spikes
from stages.training.batches import History, TrainingRun
from stages.training.curve import write_curve
from stages.training.language_modelling import LOSS_SCOPE, MixtureBatches, next_token_loss
from stages.training.loader import TokenShards
from stages.training.loop import train
from stages.training.optimizer import load_optimizer_state, save_optimizer_state
from stages.training.schedule import Schedule, count_steps
from stages.training.strategy import TrainingContext


class LongContext(Section):
    """The stages of the context length, and their gate."""

    rate: float = Field(gt=0, le=1)
    """Learning rate, as a share of the peak (assumption; the paper gives none for this phase)."""
    lengths: list[Annotated[int, Field(ge=16, le=MAX_LENGTH)]] = Field(min_length=1)
    """Sequence lengths, ascending (paper 3.4.2: six stages from 8K to 128K; those between are not given)."""
    segments: int = Field(ge=1)
    """Most segments per length; a segment has the phase's tokens divided by the number of lengths (assumption)."""
    loss_tolerance: float = Field(ge=0)
    """Allowed increase of the short-context loss over its value before the phase, in nats (paper 3.4.2: full
    recovery)."""
    needle_threshold: float = Field(ge=0, le=1)
    """Share of needles that must be found at each length up to the present one (paper 3.4.2: all)."""
    needles: int = Field(ge=1)
    """Haystacks per length and depth (assumption)."""

    @field_validator("lengths")
    @classmethod
    def _check_ascending(cls, lengths: list[int]) -> list[int]:
        if lengths != sorted(set(lengths)):
            raise ValueError("the lengths must ascend")
        return lengths


@dataclass(frozen=True)
class Config(PhaseConfig):
    long_context: Annotated[LongContext, "pretraining.long_context"]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """tokens, tokenizer, herd, model -> model (both models with their optimizer state), curve (CSV)."""
    settings = config.long_context
    if settings.lengths[0] <= config.pretraining.length:
        raise StageError(
            f"pretraining.long_context.lengths: {settings.lengths[0]} is not above pretraining.shared.length, "
            f"{config.pretraining.length}: the first length must be longer"
        )
    shards = TokenShards(inputs["tokens"])
    chat = ChatFormat(bpe.load(inputs["tokenizer"]))
    model, optimizer_state = load_model(inputs["model"]), load_optimizer_state(inputs["model"])
    member = load_member(inputs["herd"], context.item["member"])
    lengths = [config.pretraining.length, *settings.lengths]
    validation = config.make_validation(shards, context.strategy)
    before = validation.losses(model)
    history: History = []
    gate_log: list[dict[str, Any]] = []
    context_length = config.pretraining.length

    def train_segment(length: int) -> None:
        """Continues the training for one segment, and appends its curve to `history`."""
        nonlocal optimizer_state
        steps, batches = make_segment_batches(config, shards, member, length, len(gate_log))
        rate = config.learning_rate.at(model.config.parameters) * settings.rate
        curve, _, optimizer_state = train(
            model,
            batches,
            next_token_loss,
            Schedule(rate, steps, decay="constant"),
            config.training,
            scratch=context.scratch / f"segment-{len(gate_log)}",
            context=context,
            title=f"length {length}",
            first_step=len(history),
            optimizer_state=optimizer_state,
            return_optimizer_state=True,
        )
        step, tokens = (history[-1]["step"], history[-1]["tokens"]) if history else (0, 0)
        history.extend(point | {"step": point["step"] + step, "tokens": point["tokens"] + tokens} for point in curve)

    for stage, length in enumerate(settings.lengths, start=1):
        passed = False
        for segment in range(settings.segments):
            train_segment(length)
            loss_change = statistics.mean(validation.losses(model) - before)
            needles = measure_needles(
                model, chat, lengths[: stage + 1], settings.needles, config.seed, config.training, context.strategy
            )
            lowest = min(
                sum(r["accuracy"] for r in needles if r["length"] == each) / len({r["depth"] for r in needles})
                for each in lengths[: stage + 1]
            )
            recovered, solved = loss_change["value"] <= settings.loss_tolerance, lowest >= settings.needle_threshold
            passed = context.strategy.broadcast_flag(recovered and solved)
            gate_log.append(
                {
                    "length": length,
                    "segment": segment + 1,
                    "loss_change": loss_change,
                    "needles": lowest,
                    "recovered": recovered,
                    "solved": solved,
                    "passed": passed,
                }
            )
            if passed:
                break
        if not passed:
            context.note(
                f"length {length} was not mastered (needles {lowest:.2f}, short-context loss "
                f"{loss_change['value']:+.4f}): the context length stays at {context_length} tokens"
            )
            break
        context_length = length
    context.table("gate", [{**entry, "loss_change": entry["loss_change"]["value"]} for entry in gate_log])
    save_model(model, outputs["model"], inputs["tokenizer"], context_length)
    save_optimizer_state(optimizer_state or {}, outputs["model"])
    write_curve(outputs["curve"], history)
    return {
        "gate": gate_log,
        "gates_passed": sum(entry["passed"] for entry in gate_log),
        "lengths": len(settings.lengths),
        "context_length": context_length,
        "trained_length": gate_log[-1]["length"],
        "spikes": spikes.count_spikes(history),
        "needles": needles,
        "short_loss_change": loss_change,
    }


def make_segment_batches(
    config: Config, shards: TokenShards, member: Mapping[str, Any], length: int, number: int
) -> tuple[int, MixtureBatches]:
    """Steps and batches of segment `number` of the phase, at sequence length `length`."""
    tokens = member["tokens"] * config.pretraining.long_context / len(config.long_context.lengths)
    shares, seed = config.mix.shares(), config.seed + 10 + number
    batches = config.make_batches(shards, "train", shares, seed, length, config.pretraining.batch_tokens)
    return count_steps(tokens, batches.batch_tokens), batches


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The segments that were trained, by the gate's log."""
    if metrics is None:
        raise StageError("the gate decides which lengths are trained: run the stage before you inspect it")
    shards, member = TokenShards(inputs["tokens"]), load_member(inputs["herd"], item["member"])
    runs = []
    for number, entry in enumerate(metrics["gate"]):
        steps, batches = make_segment_batches(config, shards, member, entry["length"], number)
        title = f"length {entry['length']}, segment {entry['segment']}"
        runs.append(TrainingRun(title, batches, steps, LOSS_SCOPE))
    return runs
