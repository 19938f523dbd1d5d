"""How a training is distributed: the protocol the loop calls, and its implementation for a single process."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.interface import Context
from stages.training.batches import Batches, Loss, RowMetric
from stages.training.checkpoint import AsyncCheckpointer, Average, TrainingState
from stages.training.optimizer import AdamW, OptimizerState
from stages.training.parameters import Training, autocast


class Checkpointer(Protocol):
    """Writes checkpoints."""

    def save(self, state: TrainingState) -> None: ...

    def check(self) -> None:
        """Raises the error of a write that has finished; never waits."""


class Strategy(Protocol):
    """What differs between a single process and the ranks of a process group (stages/distributed)."""

    @property
    def init_device(self) -> torch.device:
        """Where to create a model that is to be trained."""

    @property
    def dp_size(self) -> int:
        """Number of data-parallel ranks."""

    def copy_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that training may change without changing `weights`."""

    def shard_model(self, model: nn.Module, training: Training) -> nn.Module:
        """This rank's part of the model."""

    def load_optimizer_state(self, optimizer: AdamW, state: OptimizerState) -> None:
        """Loads this rank's part of a full optimizer state."""

    def gather_full_state(
        self, state: TrainingState, model: nn.Module, scratch: Path, with_optimizer: bool
    ) -> OptimizerState:
        """Puts the trained weights into the full `model`; returns the full optimizer state if asked for, else {}."""

    def shard_batches(self, batches: Batches) -> Batches:
        """This rank's rows of each step."""

    def local_batches(self, batches: Sequence[Any]) -> Sequence[Any]:
        """The part of its micro-batches that this rank computes."""

    def count_tokens(self, batches: Sequence[Any]) -> int:
        """Tokens of a step, over all ranks."""

    def all_reduce(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks."""

    def broadcast_flag(self, flag: bool) -> bool:
        """The first rank's flag, on all ranks."""

    def backward(
        self, model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        """Accumulates the gradient of the loss over `weight`; returns this rank's sums over the micro-batches."""

    def evaluate(self, model: nn.Module, batches: Iterable[Any], metric: RowMetric, training: Training) -> Tensor:
        """`metric` of a full model's batches, concatenated, [rows] on every rank; without gradients.

        The number of rows of a batch should be a multiple of `dp_size`.
        """

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scales the gradients to a norm of at most `max_norm`; returns the norm before, over all ranks."""

    def load_checkpoint(self, state: TrainingState, scratch: Path, note: Callable[[str], None]) -> bool:
        """Resumes from the newest checkpoint in `scratch`; False if there is none."""

    def update_average(self, average: Average, model: nn.Module, scratch: Path) -> None:
        """Adds a full model to the average."""

    def checkpointer(self, scratch: Path, training: Training) -> AbstractContextManager[Checkpointer]:
        """Writes checkpoints to `scratch` while it is entered."""


def accumulate_gradients(
    model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
) -> dict[str, float]:
    """Adds the gradient of the loss over `weight` to the parameters'; returns the sums over the micro-batches."""
    sums: dict[str, float] = {"loss": 0.0}
    for batch in batches:
        with autocast(training):
            value, extra = loss(model, batch)
        (value / weight).backward()
        for name, amount in {"loss": value.item(), **extra}.items():
            sums[name] = sums.get(name, 0.0) + amount
    return sums


class SingleProcess:
    """The strategy of one process that holds the full model."""

    init_device = torch.device("cpu")
    dp_size = 1

    def copy_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in weights.items()}

    def shard_model(self, model: nn.Module, training: Training) -> nn.Module:
        return model

    def load_optimizer_state(self, optimizer: AdamW, state: OptimizerState) -> None:
        optimizer.load(state)

    def gather_full_state(
        self, state: TrainingState, model: nn.Module, scratch: Path, with_optimizer: bool
    ) -> OptimizerState:
        return state.optimizer.state() if with_optimizer else {}

    def shard_batches(self, batches: Batches) -> Batches:
        return batches

    def local_batches(self, batches: Sequence[Any]) -> Sequence[Any]:
        return batches

    def count_tokens(self, batches: Sequence[Any]) -> int:
        return sum(batch.tokens.numel() for batch in batches)

    def all_reduce(self, amounts: Mapping[str, float]) -> dict[str, float]:
        return dict(amounts)

    def broadcast_flag(self, flag: bool) -> bool:
        return flag

    def backward(
        self, model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        return accumulate_gradients(model, batches, loss, weight, training)

    def evaluate(self, model: nn.Module, batches: Iterable[Any], metric: RowMetric, training: Training) -> Tensor:
        model.eval()
        with torch.inference_mode(), autocast(training):
            return torch.cat([metric(model, batch) for batch in batches])

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def load_checkpoint(self, state: TrainingState, scratch: Path, note: Callable[[str], None]) -> bool:
        return state.load_checkpoint(scratch, note)

    def update_average(self, average: Average, model: nn.Module, scratch: Path) -> None:
        average.add(model)

    def checkpointer(self, scratch: Path, training: Training) -> AbstractContextManager[Checkpointer]:
        return AsyncCheckpointer(scratch, training.keep_checkpoints)


SINGLE_PROCESS = SingleProcess()


class TrainingContext(Context, Protocol):
    """The context of a stage that trains."""

    @property
    def strategy(self) -> Strategy:
        """How this run's trainings are distributed; whoever started the run knows how many ranks there are."""
