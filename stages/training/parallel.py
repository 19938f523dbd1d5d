"""The training loop over many ranks (3.3.2): each does its part of a step, the sums are those of one process.

`stages.training.loop.train` asks its ranks for what differs. One process is `Alone` there; this is a process group, in
any `Layout`. Batches must be of packed documents (TokenBatch): the phases of pretraining have those.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel

from stages.interface import StageError
from stages.model.layout import Layout
from stages.model.llama import Llama, LlamaConfig
from stages.model.parallelize import Parts, local_positions, make_mesh, parallelize
from stages.model.pipeline import interleaved
from stages.training import sharded
from stages.training.checkpoint import Average, TrainingState
from stages.training.loader import TokenBatch
from stages.training.loop import ALONE, Loss, Saving, Training, backward
from stages.training.optimizer import AdamW


class Ranks:
    """The ranks of this process group, laid out."""

    def __init__(self, layout: Layout, device: str = "cpu") -> None:
        self.layout, self.device = layout, device
        self.mesh = make_mesh(layout, device)
        self._schedules: dict[tuple[int, ...], Any] = {}
        self._shape: LlamaConfig | None = None
        self._loss: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return dist.get_rank() == 0

    def shard(self, model: nn.Module, training: Training) -> nn.Module:
        """This rank's part of `model`, which itself stays whole and untouched until `gather`."""
        if not isinstance(model, Llama):
            raise StageError(f"{type(model).__name__} needs one process: set cluster.launcher to here")
        self._shape = model.config
        self.layout.check(model.config, 2 * self.layout.cp * self.layout.tp)
        copy = Llama(model.config)
        copy.load_state_dict(model.state_dict())
        self._schedules.clear()
        # On a CPU autocast does it, as for one process: the two can then be compared.
        half = torch.bfloat16 if training.precision == "bf16" and self.device != "cpu" else None
        return parallelize(copy.to(self.device), self.layout, self.mesh, half)

    def gather(self, state: TrainingState, model: nn.Module, scratch: Path) -> None:
        """Puts the trained weights into the whole `model`, and whole tensors into the average, on every rank."""
        sharded.save(state, scratch)
        whole = TrainingState(model, None, state.average, state.fingerprint)  # type: ignore[arg-type]
        state.average.mean = {name: torch.empty(p.shape) for name, p in model.named_parameters() if state.average.count}
        sharded.load(whole, sharded.newest(scratch))
        dist.barrier()

    def mine(self, batches: Sequence[Any]) -> list[TokenBatch]:
        """This rank's rows of each micro-batch and, with context parallelism, its two chunks of each row."""
        dp, cp = self.mesh["dp"].get_local_rank(), self.mesh["cp"].get_local_rank()
        parts = []
        for batch in batches:
            if not isinstance(batch, TokenBatch):
                raise StageError(
                    f"{type(batch).__name__} is trained on one process only; take `layout` out of `cluster`"
                )
            rows, length = batch.tokens.shape
            if rows % self.layout.dp:
                raise StageError(f"layout: a micro-batch of {rows} sequences is not divided over dp {self.layout.dp}")
            starts = torch.zeros_like(batch.tokens) if batch.starts is None else batch.starts
            tokens, targets, starts = (t.chunk(self.layout.dp)[dp] for t in (batch.tokens, batch.targets, starts))
            if self.layout.cp > 1:
                here = local_positions(self.layout, cp, length)
                tokens, targets = tokens[:, here], targets[:, here]
            parts.append(TokenBatch(*(t.to(self.device) for t in (tokens, targets, starts))))
        return parts

    def total(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks that have their own tokens; what tensor and pipeline parallel ranks share counts once."""
        last = self.mesh["pp"].get_local_rank() == self.layout.pp - 1
        counts = last and self.mesh["tp"].get_local_rank() == 0
        values = torch.tensor([value if counts else 0.0 for value in amounts.values()], dtype=torch.float64)
        values = values.to(self.device)
        dist.all_reduce(values)
        return dict(zip(amounts, values.tolist(), strict=True))

    def agree(self, wish: bool) -> bool:
        """Whether the first rank wishes it: clocks differ, and a checkpoint is written by all or by none."""
        told = torch.tensor(float(wish), device=self.device)
        dist.broadcast(told, 0)
        return bool(told)

    def backward(
        self, model: nn.Module, batches: Sequence[TokenBatch], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        """Leaves the gradient of the loss over `weight` in the parameters; returns this rank's sums of the loss."""
        parts = cast(Parts, model)
        with loss_parallel():  # does nothing where the logits are no slices
            if self.layout.pp == 1:
                return backward(model, batches, loss, weight, training)
            return self._pipeline(parts, batches, loss, weight)

    def clip(self, model: nn.Module, most: float) -> Tensor:
        """Scales the gradients to a norm of at most `most`; returns the norm over all ranks."""
        parameters = [p for p in model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.layout.pp > 1:
            norm = norm**2
            dist.all_reduce(norm, group=self.mesh["pp"].get_group())
            norm = norm**0.5
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
        return norm

    def resume(self, state: TrainingState, scratch: Path, note: Callable[[str], None] = lambda text: None) -> bool:
        """Goes on from the newest checkpoint, whatever layout wrote it, or one process."""
        if self.first and list(scratch.glob("step-*")):
            self._take_over(state, scratch)
        dist.barrier()
        path = sharded.newest(scratch)
        if path is not None:
            sharded.load(state, path)
        return path is not None

    def _take_over(self, state: TrainingState, scratch: Path) -> None:
        """Writes one process's last checkpoint as a sharded one, if it is the newest."""
        config = cast(Parts, state.model).config
        model, mine = Llama(config), state.optimizer
        optimizer = AdamW(model, mine.beta1, mine.beta2, mine.eps, mine.weight_decay)
        whole = TrainingState(model, optimizer, Average(), state.fingerprint)
        if ALONE.resume(whole, scratch):
            sharded.save(whole, scratch, alone=True)

    def checkpoints(self, scratch: Path, training: Training) -> AbstractContextManager[Saving]:
        """What writes sharded checkpoints, all ranks at once."""
        return sharded.Together(scratch, training.keep_checkpoints)

    def _pipeline(self, parts: Parts, batches: Sequence[TokenBatch], loss: Loss, weight: float) -> dict[str, float]:
        """Interleaved 1F1B over this step's micro-batches."""
        tokens, starts, targets = (
            torch.cat([getattr(batch, name) for batch in batches]) for name in ("tokens", "starts", "targets")
        )
        count = len(batches)
        if count % self.layout.pp:  # a pipeline needs micro-batches: then they are as small as they can be
            count = len(tokens)
        key = (count, len(tokens), starts.shape[1])
        if key not in self._schedules:
            self._schedules[key] = interleaved(parts, count, self._wanted, self.device)
        self._loss = lambda logits, wanted: loss(lambda *_: logits, TokenBatch(wanted, wanted, None))[0] / weight
        losses: list[Tensor] = []
        inputs = (tokens,) if self.mesh["pp"].get_local_rank() == 0 else ()
        self._schedules[key].step(*inputs, starts=starts, target=targets, losses=losses, return_outputs=False)
        return {"loss": sum(value.item() for value in losses) * weight}

    def _wanted(self, logits: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self._loss(logits, targets)
        return value
