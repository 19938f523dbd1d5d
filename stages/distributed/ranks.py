"""The training loop over many ranks (3.3.2): each does its part of a step, the sums are those of one process.

`stages.training.loop.train` asks its ranks for what differs. One process is `Alone` there; this is a process group.
What belongs together stays so in any `Layout`: a micro-batch of a pipeline has whole pairs, and what a loss adds up
over a row (`Rows.sums`) is added up over the context-parallel ranks that hold its pieces.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn import functional as F

from stages.distributed import sharded_checkpoint as sharded
from stages.distributed.layout import Layout
from stages.distributed.parallelize import Parts, local_positions, make_mesh, parallelize
from stages.distributed.pipeline import interleaved
from stages.interface import StageError
from stages.model.files import adopt
from stages.model.llama import Llama, LlamaConfig, RewardModel
from stages.training.checkpoint import Average, TrainingState, newest_kind
from stages.training.loader import IGNORE, tensors_of
from stages.training.loop import Batches, Loss, Measure, Saving, Training, backward, precision
from stages.training.optimizer import AdamW, Moments

Kept = Callable[[Tensor, Any, int], Tensor]
"""(logits, micro-batch, its first row) -> the loss."""


class Ranks:
    """The ranks of this process group, laid out."""

    whole = torch.device("meta")
    """Where to make a model that is to be trained: each rank draws what it holds of it."""

    def __init__(self, layout: Layout, device: str = "cpu") -> None:
        self.layout, self.device = layout, device
        self.data_parallel = layout.dp
        self.mesh = make_mesh(layout, device)
        self._schedule: tuple[tuple[int, ...], Any] | None = None
        self._kind: type[Llama] | type[RewardModel] = Llama
        self._loss: Any = None
        self._names: list[str] | None = None
        self._rows_shared = False

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
        self._kind = type(model)
        self.layout.check(shape_of(model), self._multiple)
        self._schedule = self._names = None
        # On a CPU autocast does it, as for one process: the two can then be compared.
        half = torch.bfloat16 if training.precision == "bf16" and self.device != "cpu" else None
        return parallelize(model, self.layout, self.mesh, half, self.device)

    def begin(self, optimizer: AdamW, moments: Moments) -> None:
        """Gives the optimizer this rank's part of a whole model's state."""
        mine = {}
        for name, own in optimizer.state().items():
            value = moments[name].to(self.device)
            mine[name] = (
                distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)
                if isinstance(own, DTensor)
                else value
            )
        optimizer.load(mine)

    def gather(self, state: TrainingState, model: nn.Module, scratch: Path, moments: bool) -> Moments:
        """Puts the trained weights into the whole `model`, and whole tensors into the average, on every rank.

        They lie in a file in `scratch`, which the ranks of a node share: what a rank holds for itself is its part.
        """
        sharded.save(state, scratch)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        kinds = ("model", "average") if state.average.count else ("model",)
        wanted = {f"{kind}/{name}": shapes[name] for kind in kinds for name in shapes}
        left = {f"{name}/{kind}": shape for name, shape in shapes.items() for kind in ("first", "second")}
        left |= {f"{name}/steps": torch.Size() for name in shapes}
        wanted |= {f"optimizer/{name}": shape for name, shape in left.items() if moments}
        whole = sharded.assembled(scratch, wanted)
        adopt(cast(Llama, model), {name: whole[f"model/{name}"] for name in shapes})
        state.average.mean = {name: whole[f"average/{name}"] for name in shapes if state.average.count}
        return {name: whole[f"optimizer/{name}"] for name in left if moments}

    def deal(self, batches: Batches) -> Batches:
        """This rank's rows, or pairs, of each step; a context-parallel rank holds a piece of each."""
        return batches.of_rank(self.mesh["dp"].get_local_rank(), self.layout.dp, self.layout.cp)

    def mine(self, batches: Sequence[Any]) -> list[Any]:
        """What lies on this rank of its rows."""
        return [self._part(batch) for batch in batches]

    def tokens(self, batches: Sequence[Any]) -> int:
        """Tokens of a step, over all ranks."""
        tokens = torch.tensor(sum(batch.tokens.numel() for batch in batches), device=self.device)
        dist.all_reduce(tokens, group=self.mesh["dp"].get_group())
        return int(tokens)

    def _part(self, batch: Any) -> Any:
        """With context parallelism two chunks of each row. Sequences that do not divide evenly are filled up without
        targets."""
        tensors = tensors_of(batch)
        self._rows_shared = "ends" in tensors
        if "ends" not in tensors:
            tensors.setdefault("starts", torch.zeros_like(batch.tokens))
        length = batch.tokens.shape[1] + -batch.tokens.shape[1] % self._multiple
        here = local_positions(self.layout, self.mesh["cp"].get_local_rank(), length)
        for name, tensor in tensors.items():
            if name in FILLER:
                tensor = F.pad(tensor, (0, length - tensor.shape[1]), value=FILLER[name])
                tensor = tensor if name == "starts" else tensor[:, here]
            tensors[name] = tensor.to(self.device)
        return replace(batch, **tensors, sums=self._sums)

    def _sums(self, values: Tensor) -> Tensor:
        """The sum of each row's values, whose pieces lie on this rank and on its context-parallel peers."""
        if isinstance(values, DTensor):
            values = values.full_tensor()
        sums: Tensor = RowSums.apply(values.sum(1), self.mesh["cp"].get_group())
        return sums

    @property
    def _multiple(self) -> int:
        """The tokens of a sequence are divided into so many pieces."""
        return (2 * self.layout.cp if self.layout.cp > 1 else 1) * self.layout.tp

    def total(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks that have their own tokens, or rows; what others share with them counts once."""
        last = self.mesh["pp"].get_local_rank() == self.layout.pp - 1
        counts = last and self.mesh["tp"].get_local_rank() == 0
        counts = counts and not (self._rows_shared and self.mesh["cp"].get_local_rank())
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
        self, model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        """Leaves the gradient of the loss over `weight` in the parameters; returns this rank's sums of the loss."""
        parts = cast(Parts, model)
        with loss_parallel():  # does nothing where the logits are no slices
            if self.layout.pp == 1:
                return backward(model, batches, loss, weight, training)
            found: dict[int, dict[str, float]] = {}  # by first row: a micro-batch may be asked for twice

            def keep(logits: Tensor, piece: Any, first: int) -> Tensor:
                value, extra = loss(lambda *_: logits, piece)
                found[first] = {"loss": value.item(), **extra}
                return value / weight

            with precision(training):
                self._pipeline(parts, batches, keep)
            sums: dict[str, float] = {}
            real = sum(len(batch.tokens) for batch in batches)
            for first in sorted(place for place in found if place < real):
                for name, amount in found[first].items():
                    sums[name] = sums.get(name, 0.0) + amount
            return self._named(sums)

    def measure(self, model: nn.Module, batches: Iterable[Any], each: Measure, training: Training) -> Tensor:
        """`each` of a whole model's batches, one after the other, [rows] on every rank; nothing is kept for a gradient.

        Each data-parallel rank takes its run of a batch's rows, which are filled up until they divide evenly.
        """
        parts = cast(Parts, self.shard(model, training)).eval()
        # What lies on many ranks is told by one of them, and by a row's rank alone.
        tells = all(
            self.mesh[name].get_local_rank() == place
            for name, place in (("tp", 0), ("cp", 0), ("pp", self.layout.pp - 1))
        )
        found = []
        for batch in batches:
            rows = len(batch.tokens)
            extra = -rows % self.layout.dp
            own = {
                name: filled(tensor, extra, FILLER[name]).chunk(self.layout.dp)[self.mesh["dp"].get_local_rank()]
                for name, tensor in tensors_of(batch).items()
            }
            part = self._part(replace(batch, **own))
            mine = torch.zeros(self.layout.dp, len(part.tokens), dtype=torch.float64, device=self.device)
            with torch.no_grad(), loss_parallel(), precision(training):
                values = each(parts, part) if self.layout.pp == 1 else self._piped(parts, part, each)
            if tells and values is not None:
                mine[self.mesh["dp"].get_local_rank()] = values
            dist.all_reduce(mine)
            found.append(mine.flatten()[:rows].cpu())
        self._schedule = None  # it holds the parts
        return torch.cat(found)

    def _piped(self, parts: Parts, batch: Any, each: Measure) -> Tensor | None:
        """`each` of a batch that goes through the pipeline, on the rank of its last part."""
        found: dict[int, Tensor] = {}

        def keep(logits: Tensor, piece: Any, first: int) -> Tensor:
            found[first] = each(lambda *_: logits, piece)
            return found[first].sum()

        self._pipeline(parts, [batch], keep, gradient=False)
        return torch.cat([found[first] for first in sorted(found)])[: len(batch.tokens)] if found else None

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
        if self.first and newest_kind(scratch) == "step":
            self._take_over(state, scratch)
        dist.barrier()
        return sharded.resume(state, scratch, note)

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
        if whole.resume(scratch):
            sharded.save(whole, scratch, alone=True)

    def add(self, average: Average, model: nn.Module, scratch: Path) -> None:
        """Adds a whole model to an average of such, which lies in a file in `scratch` too: no rank holds a copy."""
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        path = scratch / "average.bin"
        if self.first:
            if not average.count:
                path.unlink(missing_ok=True)
            average.mean = sharded.mapped(path, shapes, shared=True)
            average.add(model)
        else:
            average.count += 1
        dist.barrier()
        average.mean = sharded.mapped(path, shapes)

    def checkpoints(self, scratch: Path, training: Training) -> AbstractContextManager[Saving]:
        """What writes sharded checkpoints, all ranks at once."""
        return sharded.Together(scratch, training.keep_checkpoints)

    def _pipeline(self, parts: Parts, batches: Sequence[Any], keep: Kept, gradient: bool = True) -> None:
        """Interleaved 1F1B over this step's micro-batches, forward only if no `gradient` is asked for.

        `keep` is called where the last part is; what it returns counts for rows that are no fillers.
        """
        tensors = {name: torch.cat([getattr(b, name) for b in batches]) for name in tensors_of(batches[0])}
        real, unit, count = len(tensors["tokens"]), len(batches[0].tokens) // batches[0].count, len(batches)
        # Data-parallel ranks whose rows differ by one add up gradients all the same: each has what the most have.
        ends = torch.tensor([real, -real], device=self.device)
        dist.all_reduce(ends, dist.ReduceOp.MAX, group=self.mesh["dp"].get_group())
        most, uneven = int(ends[0]), int(ends[0] != -ends[1])
        if uneven or count < self.layout.pp or count != self.layout.filled(count) or real % (count * unit):
            # Too few for a pipeline, or not equal: then they are as small as they can be, and some have no targets.
            count = self.layout.filled(most // unit)
            tensors = {
                name: filled(tensor, count * unit - real, FILLER.get(name, 0)) for name, tensor in tensors.items()
            }
        rows = len(tensors["tokens"]) // count
        key = (count, rows, tensors["tokens"].shape[1])
        if self._schedule is None or self._schedule[0] != key:  # its buffers are of these sizes
            self._schedule = key, interleaved(parts, count, self._wanted, self.device)

        def wanted(logits: Tensor, numbers: Tensor) -> Tensor:
            first = int(numbers[0])
            piece = replace(batches[0], **{name: tensor[first : first + rows] for name, tensor in tensors.items()})
            return keep(logits, piece, first) * (first < real)  # a pair of fillers is none, but has a loss

        self._loss = wanted
        inputs = (tensors["tokens"],) if self.mesh["pp"].get_local_rank() == 0 else ()
        starts = tensors.get("starts", torch.zeros_like(tensors["tokens"]).repeat(1, self.layout.cp))
        numbers = torch.arange(count * rows, device=self.device)
        go = self._schedule[1].step if gradient else self._schedule[1].eval
        go(*inputs, starts=starts, target=numbers, return_outputs=False)

    def _named(self, sums: dict[str, float]) -> dict[str, float]:
        """The sums with the names that the last stage of the pipeline has found, which alone knows them."""
        if self._names is None:
            told: list[Any] = [list(sums)]
            group = self.mesh["pp"].get_group()
            dist.broadcast_object_list(told, group=group, group_src=self.layout.pp - 1)
            self._names = told[0]
        return {name: sums.get(name, 0.0) for name in self._names or ()}

    def _wanted(self, logits: Tensor, numbers: Tensor) -> Tensor:
        value: Tensor = self._loss(logits, numbers)
        return value


FILLER = {"tokens": 0, "targets": IGNORE, "starts": 0, "ends": 0}
"""What tensors of [rows, tokens] are filled up with: nothing that counts."""


def filled(tensor: Tensor, rows: int, value: int) -> Tensor:
    """The tensor with so many more rows of `value`."""
    return torch.cat([tensor, tensor.new_full((rows, *tensor.shape[1:]), value)])


def shape_of(model: Llama | RewardModel) -> LlamaConfig:
    """The model's shape; a reward model has no output head to tie."""
    return model.config if isinstance(model, Llama) else replace(model.config, tie_word_embeddings=False)


class RowSums(torch.autograd.Function):
    """Adds up sums of pieces of rows, [B], over a group. Each rank then has the loss of the whole rows, and its
    gradient through its own piece; those of the group's ranks are added up with the parameters' gradients."""

    @staticmethod
    def forward(context: Any, sums: Tensor, group: Any) -> Tensor:
        whole = sums.clone()
        dist.all_reduce(whole, group=group)
        return whole

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
