"""Annealing (3.4.3): learning rate linearly to 0 on an up-sampled high-quality mix; the mean of its checkpoints is the
final pretrained model.

Beside it a control is trained: the same tokens at the rate annealing starts from, on the default mix.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from stages import statistics
from stages.interface import Metrics, Paths, Section
from stages.model.files import context_length, load_model, save_model, set_parameters
from stages.model.llama import Llama
from stages.pretraining.phase import Pretraining, Validation, member_of
from stages.scaling.ladder import LearningRate
from stages.tokenizer.corpus import Mix
from stages.training import spikes
from stages.training.batches import History, TrainingRun
from stages.training.checkpoint import Average
from stages.training.curve import write_curve
from stages.training.language_modelling import LOSS_SCOPE, MixtureBatches, next_token_loss
from stages.training.loader import Mixture, Split, TokenShards
from stages.training.loop import train
from stages.training.optimizer import load_optimizer_state
from stages.training.parameters import Training
from stages.training.schedule import Decay, Schedule
from stages.training.strategy import TrainingContext


class Annealing(Section):
    """The last phase of pretraining."""

    start: float = Field(gt=0, le=1)
    """Learning rate at its start, as a share of the peak (paper 3.4.3: where long-context training ended)."""
    mix: Mix
    """Shares while annealing: high-quality math and code up-sampled (paper 3.1.3, shares not given: assumption)."""
    checkpoints: int = Field(ge=1)
    """How many checkpoints, evenly spread over the phase, are averaged (paper 3.4.3; number: assumption)."""
    control: bool
    """Whether to train the control that the effect is measured against (not in the paper; doubles the cost)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    mix: Annotated[Mix, "mix"]
    training: Annotated[Training, "training"]
    learning_rate: Annotated[LearningRate, "learning_rate"]
    pretraining: Annotated[Pretraining, "pretraining.shared"]
    annealing: Annotated[Annealing, "pretraining.annealing"]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """tokens, tokenizer, herd, model -> model (the average), curve (CSV)."""
    shards = TokenShards(inputs["tokens"])
    steps, annealed, default = phase_batches(config, shards, member_of(inputs["herd"], context.item["member"]))
    count = config.annealing.checkpoints
    checkpoints = [steps * number // count for number in range(1, count + 1)]
    held_out = Validation(
        shards, config.mix.shares(), config.pretraining, config.training, config.seed, context.strategy
    )

    def continued(
        title: str, batches: MixtureBatches, decay: Decay, average_at: Collection[int], first_step: int = 0
    ) -> tuple[Llama, History, Average]:
        """The model of the phase before, trained for this one's tokens, with the moments it had there."""
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

    before = held_out.losses(load_model(inputs["model"]))
    model, history, average = continued("annealing", annealed, "linear", checkpoints)
    last = held_out.losses(model)
    set_parameters(model, average.mean)
    after = held_out.losses(model)
    save_model(model, outputs["model"], inputs["tokenizer"], context_length(inputs["model"]))
    write_curve(outputs["curve"], history)
    metrics: Metrics = {
        "steps": steps,
        "tokens": steps * annealed.size * annealed.mixture.length,
        "spikes": spikes.count_spikes(history),
        "averaged_checkpoints": average.count,
        "loss_before": statistics.mean(before),
        "loss_last_checkpoint": statistics.mean(last),
        "validation_loss": statistics.mean(after),
        "change": statistics.mean(after - before),
        "average_minus_last": statistics.mean(after - last),
        "validation_loss_by_bucket": held_out.by_bucket(model),
    }
    if config.annealing.control:
        control, _, _ = continued("control", default, "constant", (), steps)
        without = held_out.losses(control)
        metrics["loss_control"] = statistics.mean(without)
        metrics["against_control"] = statistics.mean(after - without)
    return metrics


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """Annealing, and the control after it."""
    plan = member_of(inputs["herd"], item["member"])
    steps, annealed, default = phase_batches(config, TokenShards(inputs["tokens"]), plan)
    found = [TrainingRun("annealing", annealed, steps, LOSS_SCOPE)]
    return [*found, TrainingRun("control", default, steps, LOSS_SCOPE)] if config.annealing.control else found


def phase_batches(
    config: Config, shards: TokenShards, plan: Mapping[str, Any]
) -> tuple[int, MixtureBatches, MixtureBatches]:
    """The phase's number of steps, what is annealed on, and what its control is trained on."""
    length = config.pretraining.length
    size = max(1, config.pretraining.batch_tokens // length)
    steps = max(config.annealing.checkpoints, round(plan["tokens"] * config.pretraining.annealing / (size * length)))

    def batches(split: Split, mix: Mix) -> MixtureBatches:
        # Its own seed: the windows of the initial phase's beginning must not come first again.
        mixture = Mixture(shards, split, mix.shares(), length, config.seed + 100)
        return MixtureBatches(mixture, size, config.training.micro_tokens)

    return steps, batches("anneal", config.annealing.mix), batches("train", config.mix)
