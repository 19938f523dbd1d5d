"""Model averaging over versions (4.1.5): each stage trains several and keeps the mean of their weights."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field, PositiveFloat

from stages.interface import Context, Section
from stages.model.files import adopt
from stages.model.llama import Llama, RewardModel
from stages.training.checkpoint import Average
from stages.training.loop import Batches, History, Loss, Run, Training, ranks_of, train
from stages.training.schedule import Schedule

M = TypeVar("M", Llama, RewardModel)


class Tuning(Section):
    """One stage of post-training."""

    rates: list[PositiveFloat] = Field(min_length=1)
    """Peak learning rate of each version; their weights are averaged (paper 4.1.3, 4.1.4: 1e-5 for the largest models;
    4.1.5: versions of data or hyper-parameters)."""
    steps: int = Field(gt=0)
    """Optimizer steps of each version (paper 4.1.3: 8.5K to 9K for SFT; not given for the others)."""
    batch: int = Field(gt=0)
    """Dialogs, or pairs, per step (assumption)."""
    warmup_share: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises (assumption)."""


def version_runs(batches: Callable[[int], Batches], tuning: Tuning, title: str, counts: str) -> list[Run]:
    """What `train_versions` trains, one run for each rate."""
    return [
        Run(version_title(title, number, tuning), batches(number), tuning.steps, counts)
        for number in range(len(tuning.rates))
    ]


def version_title(title: str, number: int, tuning: Tuning) -> str:
    return f"{title} {number + 1}" if len(tuning.rates) > 1 else title


def train_versions(
    model: M,
    batches: Callable[[int], Batches],
    loss: Loss,
    tuning: Tuning,
    training: Training,
    *,
    scratch: Path,
    context: Context,
    title: str,
) -> tuple[M, Sequence[History]]:
    """`model` trained once with each rate, averaged; and each version's curve. `batches(v)` are those of version v."""
    average = Average()
    histories = []
    start = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for number, rate in enumerate(tuning.rates):
        adopt(model, ranks_of(context).own(start))
        schedule = Schedule(rate, tuning.steps, max(1, round(tuning.warmup_share * tuning.steps)), "linear")
        history, *_ = train(
            model,
            batches(number),
            loss,
            schedule,
            training,
            scratch=scratch / f"version-{number}",
            context=context,
            title=version_title(title, number, tuning),
            first_step=number * tuning.steps,
        )
        histories.append(history)
        if len(tuning.rates) > 1:
            ranks_of(context).add(average, model, scratch)
    adopt(model, average.mean)  # of no version where there is one only, which the model is
    return model, histories
