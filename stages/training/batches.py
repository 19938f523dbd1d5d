"""What a training consumes: batches, the loss, and the record of a run whose steps can be inspected afterwards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from stages.training.sample import Sample


class Batch(Protocol):
    """A micro-batch, as the loop sees it; the loss function knows the rest."""

    @property
    def weight(self) -> float:
        """The loss is divided by the sum of this over the micro-batches of a step: number of targets, or of pairs."""

    @property
    def tokens(self) -> Tensor: ...


class Batches(Protocol):
    """Maps a step to its batch, as micro-batches whose gradients are accumulated."""

    @property
    def few_shapes(self) -> bool:
        """Whether the micro-batches have few distinct shapes, so that compiling for each one pays off."""

    @property
    def fingerprint(self) -> str:
        """Identifies the data: a checkpoint of other data is refused."""

    def __call__(self, step: int) -> Sequence[Any]: ...

    def for_rank(self, rank: int, world: int, pieces: int = 1) -> "Batches":
        """The share of one of `world` data-parallel ranks, whose devices each hold one of `pieces` of a sequence. All
        ranks have the same number of micro-batches."""

    def samples(self, step: int) -> Iterator[Sample]:
        """The samples of a step in readable form, in the order of the batch."""


Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
"""(model, micro-batch) -> the loss summed over the micro-batch, and other sums to log."""

RowMetric = Callable[[Any, Any], Tensor]
"""(model, batch) -> a number for each of the batch's rows, [rows]."""

History = list[dict[str, float]]
"""One record per step: step (from 1), tokens (so far), lr, spike (1 or 0), loss, grad_norm, and the loss function's
other means."""


@dataclass(frozen=True)
class TrainingRun:
    """One call of `train`, described so that each of its steps can be inspected afterwards.

    A stage that trains defines `training_runs(config, inputs, item, metrics)` next to `run`: its trainings in the order
    of their curves, with the same batches. `metrics` are those of the finished stage, None before it has run.
    """

    title: str
    batches: Batches
    steps: int
    loss_scope: str
    """Which tokens count in the loss, in words."""
