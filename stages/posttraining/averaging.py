"""Model averaging (4.1.5): trains several variants of a model and keeps the mean of their weights."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field, PositiveFloat

from stages.interface import Section
from stages.model.files import set_parameters
from stages.model.llama import Llama, RewardModel
from stages.training.batches import Batches, History, Loss, TrainingRun
from stages.training.checkpoint import Average
from stages.training.loop import train
from stages.training.parameters import Training
from stages.training.schedule import Schedule
from stages.training.strategy import TrainingContext

M = TypeVar("M", Llama, RewardModel)


class Tuning(Section):
    """One stage of post-training."""

    rates: list[PositiveFloat] = Field(min_length=1)
    """Peak learning rate of each variant; their weights are averaged (paper 4.1.3, 4.1.4: 1e-5 for the largest models;
    4.1.5: variants of data or hyper-parameters)."""
    steps: int = Field(gt=0)
    """Optimizer steps of each variant (paper 4.1.3: 8.5K to 9K for SFT; not given for the others)."""
    batch: int = Field(gt=0)
    """Dialogs, or pairs, per step (assumption)."""
    warmup_share: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises (assumption)."""


def variant_runs(batches: Callable[[int], Batches], tuning: Tuning, title: str, counts: str) -> list[TrainingRun]:
    """The training runs of `train_variants`, one per learning rate."""
    return [
        TrainingRun(variant_title(title, number, tuning), batches(number), tuning.steps, counts)
        for number in range(len(tuning.rates))
    ]


def variant_title(title: str, number: int, tuning: Tuning) -> str:
    return f"{title} {number + 1}" if len(tuning.rates) > 1 else title


def train_variants(
    model: M,
    batches: Callable[[int], Batches],
    loss: Loss,
    tuning: Tuning,
    training: Training,
    *,
    scratch: Path,
    context: TrainingContext,
    title: str,
) -> tuple[M, Sequence[History]]:
    """Trains `model` once with each learning rate and averages the weights; also returns each variant's curve.

    `batches(n)` returns the batches of variant n.
    """
    average = Average()
    histories = []
    start = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for number, rate in enumerate(tuning.rates):
        set_parameters(model, context.strategy.copy_weights(start))
        schedule = Schedule(rate, tuning.steps, max(1, round(tuning.warmup_share * tuning.steps)), "linear")
        history, *_ = train(
            model,
            batches(number),
            loss,
            schedule,
            training,
            scratch=scratch / f"variant-{number}",
            context=context,
            title=variant_title(title, number, tuning),
            first_step=number * tuning.steps,
        )
        histories.append(history)
        if len(tuning.rates) > 1:
            context.strategy.update_average(average, model, scratch)
    set_parameters(model, average.mean)  # empty where there is one variant only: the model holds its weights
    return model, histories
