"""Model averaging (4.1.5): trains several variants of a model and keeps the mean of their weights."""

from collections.abc import Sequence
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


def variant_title(title: str, variant: int, tuning: Tuning) -> str:
    return f"{title} {variant + 1}" if len(tuning.rates) > 1 else title


def variant_runs(batches: Sequence[Batches], tuning: Tuning, title: str, loss_scope: str) -> list[TrainingRun]:
    """Describes the trainings of `train_variants`."""
    return [
        TrainingRun(variant_title(title, variant, tuning), of_variant, tuning.steps, loss_scope)
        for variant, of_variant in enumerate(batches)
    ]


def train_variants(
    model: M,
    batches: Sequence[Batches],
    loss: Loss,
    tuning: Tuning,
    training: Training,
    context: TrainingContext,
    title: str,
) -> tuple[M, list[History]]:
    """Trains `model` once with each learning rate, on that variant's `batches`, and averages the weights; also returns
    each variant's curve."""
    average, histories = Average(), []
    start = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for variant, (rate, of_variant) in enumerate(zip(tuning.rates, batches, strict=True)):
        set_parameters(model, context.strategy.copy_weights(start))
        result = train(
            model,
            of_variant,
            loss,
            Schedule(rate, tuning.steps, max(1, round(tuning.warmup_share * tuning.steps)), "linear"),
            training,
            scratch=context.scratch / title / f"variant-{variant}",
            context=context,
            title=variant_title(title, variant, tuning),
            first_step=variant * tuning.steps,
        )
        histories.append(result.history)
        if len(tuning.rates) > 1:
            context.strategy.update_average(average, model, context.scratch / title)
    set_parameters(model, average.mean)  # empty if there is one variant: the model has its weights
    return model, histories
