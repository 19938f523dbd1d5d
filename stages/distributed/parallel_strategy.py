"""Training over many ranks (3.3.2): each computes its part of a step; the sums equal those of a single process.

Implements `stages.training.strategy.Strategy` for a process group. Any `Layout` keeps together what a loss needs
together: a pipeline micro-batch holds complete pairs, and a loss's sums over a row (`TokenRows.sum_rows`) are reduced
over the context-parallel ranks that hold pieces of the row.
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
from stages.distributed.parallelize import ModelParts, local_positions, make_mesh, parallelize
from stages.distributed.pipeline import build_pipeline_schedule
from stages.interface import StageError
from stages.model.files import set_parameters
from stages.model.llama import Llama, LlamaConfig, RewardModel
from stages.training.batches import Batches, Loss, RowMetric
from stages.training.checkpoint import Average, TrainingState, is_sharded, newest_checkpoint
from stages.training.loader import IGNORE_INDEX, batch_tensors
from stages.training.optimizer import AdamW, OptimizerState
from stages.training.parameters import Training, autocast
from stages.training.strategy import Checkpointer, accumulate_gradients

PipelineLoss = Callable[[Tensor, Any, int], Tensor]
"""(logits, micro-batch, index of its first row) -> the loss."""


class ParallelStrategy:
    """The ranks of this process group, arranged by `layout`."""

    init_device = torch.device("meta")
    """Each rank initialises only its own part of the model."""

    def __init__(self, layout: Layout, device: str = "cpu") -> None:
        self.layout, self.device = layout, device
        self.dp_size = layout.dp
        self.mesh = make_mesh(layout, device)
        self._schedule: tuple[tuple[int, ...], Any] | None = None
        self._model_class: type[Llama] | type[RewardModel] = Llama
        self._loss: Any = None
        self._names: list[str] | None = None
        self._has_shared_rows = False

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return dist.get_rank() == 0

    def copy_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(weights)  # `shard_model` copies this rank's part

    def shard_model(self, model: nn.Module, training: Training) -> nn.Module:
        """This rank's part of `model`, which itself stays unchanged until `gather_full_state`."""
        if not isinstance(model, Llama | RewardModel):
            raise StageError(f"{type(model).__name__} needs a single process: set cluster.launcher to here")
        self._model_class = type(model)
        self.layout.check(shape_of(model), self._length_multiple)
        self._schedule = self._names = None
        # On a CPU autocast is used, as by a single process, so that the two can be compared.
        dtype = torch.bfloat16 if training.precision == "bf16" and self.device != "cpu" else None
        return parallelize(model, self.layout, self.mesh, dtype, self.device)

    def load_optimizer_state(self, optimizer: AdamW, state: OptimizerState) -> None:
        local = {}
        for name, old in optimizer.state().items():
            value = state[name].to(self.device)
            if isinstance(old, DTensor):
                value = distribute_tensor(value, old.device_mesh, old.placements, src_data_rank=None)
            local[name] = value
        optimizer.load(local)

    def gather_full_state(
        self, state: TrainingState, model: nn.Module, scratch: Path, with_optimizer: bool
    ) -> OptimizerState:
        """Puts the trained weights into the full `model`, and full tensors into the average, on every rank.

        They are in a file in `scratch` that the ranks of a node share, so that no rank has its own copy.
        """
        sharded.save_checkpoint(state, scratch)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        kinds = ("model", "average") if state.average.count else ("model",)
        wanted = {f"{kind}/{name}": shapes[name] for kind in kinds for name in shapes}
        optimizer = {f"{name}/{kind}": shape for name, shape in shapes.items() for kind in ("first", "second")}
        optimizer |= {f"{name}/steps": torch.Size() for name in shapes}
        wanted |= {f"optimizer/{name}": shape for name, shape in optimizer.items() if with_optimizer}
        full = sharded.load_full_tensors(scratch, wanted)
        set_parameters(cast(Llama, model), {name: full[f"model/{name}"] for name in shapes})
        state.average.mean = {name: full[f"average/{name}"] for name in shapes if state.average.count}
        return {name: full[f"optimizer/{name}"] for name in optimizer if with_optimizer}

    def shard_batches(self, batches: Batches) -> Batches:
        """This rank's rows, or pairs, of each step; context-parallel ranks hold a piece of each."""
        return batches.for_rank(self.mesh["dp"].get_local_rank(), self.layout.dp, self.layout.cp)

    def local_batches(self, batches: Sequence[Any]) -> list[Any]:
        return [self._local_batch(batch) for batch in batches]

    def count_tokens(self, batches: Sequence[Any]) -> int:
        tokens = torch.tensor(sum(batch.tokens.numel() for batch in batches), device=self.device)
        dist.all_reduce(tokens, group=self.mesh["dp"].get_group())
        return int(tokens)

    def _local_batch(self, batch: Any) -> Any:
        """With context parallelism two chunks of each row. Sequences that do not divide evenly are padded without
        targets."""
        tensors = batch_tensors(batch)
        self._has_shared_rows = "is_last" in tensors
        if "is_last" not in tensors:
            tensors.setdefault("starts", torch.zeros_like(batch.tokens))
        length = batch.tokens.shape[1] + -batch.tokens.shape[1] % self._length_multiple
        positions = local_positions(self.layout, self.mesh["cp"].get_local_rank(), length)
        for name, tensor in tensors.items():
            if name in PADDING:
                tensor = F.pad(tensor, (0, length - tensor.shape[1]), value=PADDING[name])
                tensor = tensor if name == "starts" else tensor[:, positions]
            tensors[name] = tensor.to(self.device)
        return replace(batch, **tensors, sum_rows=self._sum_rows)

    def _sum_rows(self, values: Tensor) -> Tensor:
        """The sum of each row's values, over this rank's piece of the row and those of its context-parallel peers."""
        if isinstance(values, DTensor):
            values = values.full_tensor()
        sums: Tensor = ReduceRowSums.apply(values.sum(1), self.mesh["cp"].get_group())
        return sums

    @property
    def _length_multiple(self) -> int:
        """The length of a sequence must be a multiple of this."""
        return (2 * self.layout.cp if self.layout.cp > 1 else 1) * self.layout.tp

    def all_reduce(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks; an amount that several ranks share is counted once."""
        is_last = self.mesh["pp"].get_local_rank() == self.layout.pp - 1
        is_counted = is_last and self.mesh["tp"].get_local_rank() == 0
        is_counted = is_counted and not (self._has_shared_rows and self.mesh["cp"].get_local_rank())
        values = torch.tensor([value if is_counted else 0.0 for value in amounts.values()], dtype=torch.float64)
        values = values.to(self.device)
        dist.all_reduce(values)
        return dict(zip(amounts, values.tolist(), strict=True))

    def broadcast_flag(self, flag: bool) -> bool:
        """The first rank's flag: clocks differ, and a checkpoint is written by all ranks or by none."""
        value = torch.tensor(float(flag), device=self.device)
        dist.broadcast(value, 0)
        return bool(value)

    def backward(
        self, model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        parts = cast(ModelParts, model)
        with loss_parallel():  # does nothing unless the logits are sharded
            if self.layout.pp == 1:
                return accumulate_gradients(model, batches, loss, weight, training)
            sums_by_row: dict[int, dict[str, float]] = {}  # by first row: the loss may be computed twice

            def pipeline_loss(logits: Tensor, piece: Any, first: int) -> Tensor:
                value, extra = loss(lambda *_: logits, piece)
                sums_by_row[first] = {"loss": value.item(), **extra}
                return value / weight

            with autocast(training):
                self._run_pipeline(parts, batches, pipeline_loss)
            sums: dict[str, float] = {}
            num_rows = sum(len(batch.tokens) for batch in batches)
            for first in sorted(row for row in sums_by_row if row < num_rows):
                for name, amount in sums_by_row[first].items():
                    sums[name] = sums.get(name, 0.0) + amount
            return self._broadcast_names(sums)

    def evaluate(self, model: nn.Module, batches: Iterable[Any], metric: RowMetric, training: Training) -> Tensor:
        """Each data-parallel rank computes its slice of a batch's rows, which are padded until they divide evenly."""
        parts = cast(ModelParts, self.shard_model(model, training)).eval()
        dp_rank = self.mesh["dp"].get_local_rank()
        # One rank reports a value that several hold.
        reports = all(
            self.mesh[name].get_local_rank() == rank
            for name, rank in (("tp", 0), ("cp", 0), ("pp", self.layout.pp - 1))
        )
        results = []
        for batch in batches:
            rows = len(batch.tokens)
            padding = -rows % self.layout.dp
            slices = {
                name: pad_rows(tensor, padding, PADDING[name]).chunk(self.layout.dp)[dp_rank]
                for name, tensor in batch_tensors(batch).items()
            }
            local = self._local_batch(replace(batch, **slices))
            gathered = torch.zeros(self.layout.dp, len(local.tokens), dtype=torch.float64, device=self.device)
            with torch.no_grad(), loss_parallel(), autocast(training):
                values = metric(parts, local) if self.layout.pp == 1 else self._pipeline_metric(parts, local, metric)
            if reports and values is not None:
                gathered[dp_rank] = values
            dist.all_reduce(gathered)
            results.append(gathered.flatten()[:rows].cpu())
        self._schedule = None  # it holds the parts
        return torch.cat(results)

    def _pipeline_metric(self, parts: ModelParts, batch: Any, metric: RowMetric) -> Tensor | None:
        """`metric` of a batch that goes through the pipeline; None except on the last pipeline rank."""
        values: dict[int, Tensor] = {}

        def pipeline_loss(logits: Tensor, piece: Any, first: int) -> Tensor:
            values[first] = metric(lambda *_: logits, piece)
            return values[first].sum()

        self._run_pipeline(parts, [batch], pipeline_loss, gradient=False)
        return torch.cat([values[first] for first in sorted(values)])[: len(batch.tokens)] if values else None

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        parameters = [p for p in model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.layout.pp > 1:
            norm = norm**2
            dist.all_reduce(norm, group=self.mesh["pp"].get_group())
            norm = norm**0.5
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def load_checkpoint(self, state: TrainingState, scratch: Path, note: Callable[[str], None]) -> bool:
        """Resumes from the newest checkpoint, whether a single process or any layout wrote it."""
        self._check_same_data(state.fingerprint)
        newest = newest_checkpoint(scratch)
        if self.is_first and newest is not None and not is_sharded(newest):
            self._convert_checkpoint(state, scratch)
        dist.barrier()
        return sharded.load_checkpoint(state, scratch, note)

    def _check_same_data(self, fingerprint: str) -> None:
        """Raises StageError if the fingerprint of the batches differs between ranks."""
        number = int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:7])
        extremes = torch.tensor([number, -number], device=self.device)
        dist.all_reduce(extremes, dist.ReduceOp.MAX)
        if extremes[0] != -extremes[1]:
            raise StageError("the ranks do not have the same data to train on: are their machines alike?")

    def _convert_checkpoint(self, state: TrainingState, scratch: Path) -> None:
        """Writes the newest checkpoint of a single process as a sharded one."""
        config = cast(ModelParts, state.model).config
        model, old = self._model_class(config), state.optimizer
        optimizer = AdamW(model, old.beta1, old.beta2, old.eps, old.weight_decay)
        full_state = TrainingState(model, optimizer, Average(), state.fingerprint)
        if full_state.load_checkpoint(scratch):
            sharded.save_checkpoint(full_state, scratch, single_process=True)

    def update_average(self, average: Average, model: nn.Module, scratch: Path) -> None:
        """The average is in a file in `scratch` that the ranks of a node share, so that no rank has its own copy."""
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        path = scratch / "average.bin"
        if self.is_first:
            if not average.count:
                path.unlink(missing_ok=True)
            average.mean = sharded.map_tensors(path, shapes, shared=True)
            average.add(model)
        else:
            average.count += 1
        dist.barrier()
        average.mean = sharded.map_tensors(path, shapes)

    def checkpointer(self, scratch: Path, training: Training) -> AbstractContextManager[Checkpointer]:
        return sharded.ShardedCheckpointer(scratch, training.keep_checkpoints)

    def _run_pipeline(
        self, parts: ModelParts, batches: Sequence[Any], loss: PipelineLoss, gradient: bool = True
    ) -> None:
        """Interleaved 1F1B over this step's micro-batches, forward only without `gradient`.

        `loss` is called on the last pipeline rank; it does not count for padding rows.
        """
        tensors = {name: torch.cat([getattr(b, name) for b in batches]) for name in batch_tensors(batches[0])}
        rows, unit, count = len(tensors["tokens"]), len(batches[0].tokens) // batches[0].count, len(batches)
        # Data-parallel ranks may differ by one row, but all add up gradients: each is padded to the largest.
        extremes = torch.tensor([rows, -rows], device=self.device)
        dist.all_reduce(extremes, dist.ReduceOp.MAX, group=self.mesh["dp"].get_group())
        max_rows, uneven = int(extremes[0]), int(extremes[0] != -extremes[1])
        if (
            uneven
            or count < self.layout.pp
            or count != self.layout.round_up_microbatches(count)
            or rows % (count * unit)
        ):
            # Too few for a pipeline, or unequal: use micro-batches of minimal size, some without targets.
            count = self.layout.round_up_microbatches(max_rows // unit)
            padding = count * unit - rows
            tensors = {name: pad_rows(tensor, padding, PADDING.get(name, 0)) for name, tensor in tensors.items()}
        size = len(tensors["tokens"]) // count
        key = (count, size, tensors["tokens"].shape[1])
        if self._schedule is None or self._schedule[0] != key:  # its buffers are of these sizes
            self._schedule = key, build_pipeline_schedule(parts, count, self._schedule_loss, self.device)

        def micro_batch_loss(logits: Tensor, indices: Tensor) -> Tensor:
            first = int(indices[0])
            piece = replace(batches[0], **{name: tensor[first : first + size] for name, tensor in tensors.items()})
            return loss(logits, piece, first) * (first < rows)  # a pair of padding rows has a loss too

        self._loss = micro_batch_loss
        inputs = (tensors["tokens"],) if self.mesh["pp"].get_local_rank() == 0 else ()
        starts = tensors.get("starts", torch.zeros_like(tensors["tokens"]).repeat(1, self.layout.cp))
        indices = torch.arange(count * size, device=self.device)
        run = self._schedule[1].step if gradient else self._schedule[1].eval
        run(*inputs, starts=starts, target=indices, return_outputs=False)

    def _broadcast_names(self, sums: dict[str, float]) -> dict[str, float]:
        """The sums with the keys of the last pipeline rank, which alone computes the loss."""
        if self._names is None:
            names: list[Any] = [list(sums)]
            group = self.mesh["pp"].get_group()
            dist.broadcast_object_list(names, group=group, group_src=self.layout.pp - 1)
            self._names = names[0]
        return {name: sums.get(name, 0.0) for name in self._names or ()}

    def _schedule_loss(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The loss that a schedule, which outlives a step, keeps calling."""
        value: Tensor = self._loss(logits, indices)
        return value


PADDING = {"tokens": 0, "targets": IGNORE_INDEX, "starts": 0, "is_last": 0}
"""Padding values of tensors [rows, tokens]; they do not count in any loss."""


def pad_rows(tensor: Tensor, rows: int, value: int) -> Tensor:
    """The tensor with `rows` more rows of `value`."""
    return torch.cat([tensor, tensor.new_full((rows, *tensor.shape[1:]), value)])


def shape_of(model: Llama | RewardModel) -> LlamaConfig:
    """The model's configuration; a reward model has no output head to tie."""
    return model.config if isinstance(model, Llama) else replace(model.config, tie_word_embeddings=False)


class ReduceRowSums(torch.autograd.Function):
    """All-reduce of the sums of pieces of rows, [B]. Each rank then has the loss of the full rows and its gradient
    through its own piece; the gradients are summed later, together with those of the parameters."""

    @staticmethod
    def forward(context: Any, sums: Tensor, group: Any) -> Tensor:
        total = sums.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
