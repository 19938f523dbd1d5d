"""The training loop over many ranks (3.3.2): each does its part of a step, the sums are those of one process.

`stages.training.loop.train` asks its ranks for what differs. One process is `Alone` there; this is a process group.
Sequences of tokens (TokenBatch: pretraining, SFT) are trained in any `Layout`, pairs (reward model, DPO) by
data-parallel ranks.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn import functional as F

from stages.interface import StageError
from stages.model.files import adopt
from stages.model.layout import Layout
from stages.model.llama import Llama, RewardModel
from stages.model.parallelize import Parts, local_positions, make_mesh, parallelize
from stages.model.pipeline import interleaved
from stages.training import sharded
from stages.training.checkpoint import Average, TrainingState
from stages.training.loader import IGNORE, TokenBatch
from stages.training.loop import ALONE, Loss, Saving, Training, backward
from stages.training.optimizer import AdamW


class Ranks:
    """The ranks of this process group, laid out."""

    whole = torch.device("meta")
    """Where to make a model that is to be trained: each rank draws what it holds of it."""

    def __init__(self, layout: Layout, device: str = "cpu") -> None:
        self.layout, self.device = layout, device
        self.mesh = make_mesh(layout, device)
        self._schedule: tuple[tuple[int, ...], Any] | None = None
        self._kind: type[Llama] | type[RewardModel] = Llama
        self._loss: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return dist.get_rank() == 0

    def own(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that a rank may start from while `weights` stay: it trains its part, which is a copy."""
        return dict(weights)

    def shard(self, model: nn.Module, training: Training) -> nn.Module:
        """This rank's part of `model`, which itself stays whole and untouched until `gather`."""
        if not isinstance(model, Llama | RewardModel):
            raise StageError(f"{type(model).__name__} is trained by one process: set cluster.launcher to here")
        if isinstance(model, RewardModel):
            self.layout.check_pairs()
        self._kind = type(model)
        self.layout.check(model.config, self._multiple)
        self._schedule = None
        # On a CPU autocast does it, as for one process: the two can then be compared.
        half = torch.bfloat16 if training.precision == "bf16" and self.device != "cpu" else None
        return parallelize(model, self.layout, self.mesh, half, self.device)

    def gather(self, state: TrainingState, model: nn.Module, scratch: Path) -> None:
        """Puts the trained weights into the whole `model`, and whole tensors into the average, on every rank.

        They lie in a file in `scratch`, which the ranks of a node share: what a rank holds for itself is its part.
        """
        sharded.save(state, scratch)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        kinds = ("model", "average") if state.average.count else ("model",)
        whole = sharded.assembled(scratch, {f"{kind}/{name}": shapes[name] for kind in kinds for name in shapes})
        adopt(cast(Llama, model), {name: whole[f"model/{name}"] for name in shapes})
        state.average.mean = {name: whole[f"average/{name}"] for name in shapes if state.average.count}

    def mine(self, batches: Sequence[Any]) -> list[Any]:
        """This rank's run of the rows, or pairs, of each micro-batch; StageError where there is none for some rank."""
        parts = []
        for batch in batches:
            if batch.count < self.layout.dp:
                raise StageError(
                    f"layout: a micro-batch of {batch.count} rows or pairs leaves some of dp {self.layout.dp} idle; "
                    "lower dp, or raise the stage's batch or training.micro_tokens"
                )
            if isinstance(batch, TokenBatch):
                parts.append(self._tokens(batch))
            else:
                self.layout.check_pairs()
                parts.append(batch.part(self.mesh["dp"].get_local_rank(), self.layout.dp, self.device))
        return parts

    def _tokens(self, batch: TokenBatch) -> TokenBatch:
        """This rank's rows and, with context parallelism, its two chunks of each.

        All ranks get as many rows, and tokens that divide evenly: what is missing is filled up without targets.
        """
        rows, length = batch.tokens.shape
        missing = -rows % self.layout.dp, -length % self._multiple
        starts = torch.zeros_like(batch.tokens) if batch.starts is None else batch.starts
        dp, cp = self.mesh["dp"].get_local_rank(), self.mesh["cp"].get_local_rank()
        tokens, targets, starts = (
            tensor.chunk(self.layout.dp)[dp] for tensor in filled(batch.tokens, batch.targets, starts, *missing)
        )
        if self.layout.cp > 1:
            here = local_positions(self.layout, cp, starts.shape[1])
            tokens, targets = tokens[:, here], targets[:, here]
        return TokenBatch(*(tensor.to(self.device) for tensor in (tokens, targets, starts)))

    @property
    def _multiple(self) -> int:
        """The tokens of a sequence are divided into so many pieces."""
        return (2 * self.layout.cp if self.layout.cp > 1 else 1) * self.layout.tp

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
        self._same(state.fingerprint)
        if self.first and list(scratch.glob("step-*")):
            self._take_over(state, scratch)
        dist.barrier()
        path = sharded.newest(scratch)
        if path is not None:
            sharded.load(state, path)
        return path is not None

    def _same(self, fingerprint: str) -> None:
        """Raises StageError where some rank would train on other batches: what it drew itself came out otherwise."""
        mine = int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:7])
        ends = torch.tensor([mine, -mine], device=self.device)
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        if ends[0] != -ends[1]:
            raise StageError("the ranks do not have the same data to train on: are their machines alike?")

    def _take_over(self, state: TrainingState, scratch: Path) -> None:
        """Writes one process's last checkpoint as a sharded one, if it is the newest."""
        config = cast(Parts, state.model).config
        model, mine = self._kind(config), state.optimizer
        optimizer = AdamW(model, mine.beta1, mine.beta2, mine.eps, mine.weight_decay)
        whole = TrainingState(model, optimizer, Average(), state.fingerprint)
        if ALONE.resume(whole, scratch):
            sharded.save(whole, scratch, alone=True)

    def checkpoints(self, scratch: Path, training: Training) -> AbstractContextManager[Saving]:
        """What writes sharded checkpoints, all ranks at once."""
        return sharded.Together(scratch, training.keep_checkpoints)

    def _pipeline(self, parts: Parts, batches: Sequence[TokenBatch], loss: Loss, weight: float) -> dict[str, float]:
        """Interleaved 1F1B over this step's micro-batches."""
        tokens, targets, starts = (
            torch.cat([getattr(batch, name) for batch in batches]) for name in ("tokens", "targets", "starts")
        )
        count = len(batches)
        if count % self.layout.pp:  # a pipeline needs micro-batches: then they are as small as they can be
            tokens, targets, starts = filled(tokens, targets, starts, -len(tokens) % self.layout.pp)
            count = len(tokens)
        key = (count, len(tokens), starts.shape[1])
        if self._schedule is None or self._schedule[0] != key:  # its buffers are of these sizes
            self._schedule = key, interleaved(parts, count, self._wanted, self.device)
        self._loss = lambda logits, wanted: loss(lambda *_: logits, TokenBatch(wanted, wanted, None))[0] / weight
        losses: list[Tensor] = []
        inputs = (tokens,) if self.mesh["pp"].get_local_rank() == 0 else ()
        self._schedule[1].step(*inputs, starts=starts, target=targets, losses=losses, return_outputs=False)
        return {"loss": sum(value.item() for value in losses) * weight}

    def _wanted(self, logits: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self._loss(logits, targets)
        return value


def filled(
    tokens: Tensor, targets: Tensor, starts: Tensor, rows: int, length: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch with so many more rows, and more tokens at their ends, none of which is a target."""
    return tuple(  # type: ignore[return-value]
        F.pad(tensor, (0, length, 0, rows), value=value)
        for tensor, value in ((tokens, 0), (targets, IGNORE), (starts, 0))
    )
