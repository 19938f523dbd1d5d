"""Annealing (3.4.3): the learning rate decays linearly to 0 on an up-sampled high-quality mix. The average of its
checkpoints is the final pretrained model.

The control is trained on as many tokens of the default mix, at a constant learning rate.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from stages import statistics
from stages.interface import Metrics, Paths, Section
from stages.model.files import context_length, load_model, save_model, set_parameters
from stages.model.llama import Llama
from stages.pretraining.phase import PhaseConfig, load_member
from stages.tokenizer.corpus import Mix
from stages.training import spikes
from stages.training.batches import History, TrainingRun
from stages.training.checkpoint import Average
from stages.training.curve import write_curve
from stages.training.language_modelling import LOSS_SCOPE, MixtureBatches, next_token_loss
from stages.training.loader import TokenShards
from stages.training.loop import train
from stages.training.optimizer import load_optimizer_state
from stages.training.schedule import Decay, Schedule, count_steps
from stages.training.strategy import TrainingContext


class Annealing(Section):
    """The last phase of pretraining."""

    start: float = Field(gt=0, le=1)
    """Initial learning rate, as a share of the peak (paper 3.4.3: the last one of long-context training)."""
    mix: Mix
    """The data mix: high-quality math and code are up-sampled (paper 3.1.3, shares not given: assumption)."""
    checkpoints: int = Field(ge=1)
    """Number of averaged checkpoints, evenly spread over the phase (paper 3.4.3; number: assumption)."""
    control: bool
    """Whether to train the control (not in the paper; doubles the cost)."""


@dataclass(frozen=True)
class Config(PhaseConfig):
    annealing: Annotated[Annealing, "pretraining.annealing"]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """tokens, tokenizer, herd, model -> model (the average), curve (CSV)."""
    shards = TokenShards(inputs["tokens"])
    member = load_member(inputs["herd"], context.item["member"])
    steps, annealing_batches, control_batches = make_phase_batches(config, shards, member)
    count = config.annealing.checkpoints
    checkpoints = [steps * number // count for number in range(1, count + 1)]
    validation = config.make_validation(shards, context.strategy)

    def train_phase(
        title: str, batches: MixtureBatches, decay: Decay, average_at: Collection[int], first_step: int = 0
    ) -> tuple[Llama, History, Average]:
        """Continues the training of the previous phase's model, with its optimizer state."""
        model = load_model(inputs["model"])
        peak = config.learning_rate.at(model.config.parameters) * config.annealing.start
        history, average, _ = train(
            model,
            batches,
            next_token_loss,
            Schedule(peak, steps, decay=decay),
            config.training,
            scratch=context.scratch / title,
            context=context,
            title=title,
            average_at=average_at,
            first_step=first_step,
            optimizer_state=load_optimizer_state(inputs["model"]),
        )
        return model, history, average

    before = validation.losses(load_model(inputs["model"]))
    model, history, average = train_phase("annealing", annealing_batches, "linear", checkpoints)
    last = validation.losses(model)
    set_parameters(model, average.mean)
    after = validation.losses(model)
    save_model(model, outputs["model"], inputs["tokenizer"], context_length(inputs["model"]))
    write_curve(outputs["curve"], history)
    metrics: Metrics = {
        "steps": steps,
        "tokens": steps * annealing_batches.batch_tokens,
        "spikes": spikes.count_spikes(history),
        "averaged_checkpoints": average.count,
        "loss_before": statistics.mean(before),
        "loss_last_checkpoint": statistics.mean(last),
        "validation_loss": statistics.mean(after),
        "change": statistics.mean(after - before),
        "average_minus_last": statistics.mean(after - last),
        "validation_loss_by_bucket": validation.by_bucket(model),
    }
    if config.annealing.control:
        control, _, _ = train_phase("control", control_batches, "constant", (), steps)
        control_losses = validation.losses(control)
        metrics["loss_control"] = statistics.mean(control_losses)
        metrics["against_control"] = statistics.mean(after - control_losses)
    return metrics


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """Annealing, then the control."""
    member = load_member(inputs["herd"], item["member"])
    steps, annealing, control = make_phase_batches(config, TokenShards(inputs["tokens"]), member)
    batches = {"annealing": annealing, "control": control} if config.annealing.control else {"annealing": annealing}
    return [TrainingRun(title, each, steps, LOSS_SCOPE) for title, each in batches.items()]


def make_phase_batches(
    config: Config, shards: TokenShards, member: Mapping[str, Any]
) -> tuple[int, MixtureBatches, MixtureBatches]:
    """The number of steps, the batches of annealing, and those of the control."""
    annealing, control = make_batches(config, shards, config.seed + 100)
    tokens = member["tokens"] * config.pretraining.annealing
    return max(config.annealing.checkpoints, count_steps(tokens, annealing.batch_tokens)), annealing, control


def make_batches(config: Config, shards: TokenShards, seed: int) -> tuple[MixtureBatches, MixtureBatches]:
    """Batches of the annealing mix, and of the default mix without the high-quality documents.

    `seed` must not be that of an earlier phase, or training would start with the same windows.
    """
    length, batch_tokens = config.pretraining.length, config.pretraining.batch_tokens
    annealing = config.make_batches(shards, "anneal", config.annealing.mix.shares(), seed, length, batch_tokens)
    return annealing, config.make_batches(shards, "train", config.mix.shares(), seed, length, batch_tokens)
