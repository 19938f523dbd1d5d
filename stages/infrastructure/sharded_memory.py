"""The memory of a rank, measured without a cluster (3.3.2): the paper's memory consumption estimator.

The training code shards the model on torch's meta device under a fake process group. Parameters, gradients and
optimizer state are therefore exact. Activations are the tensors alive after a forward pass of each stage, times the
micro-batches in flight. Not counted: allocator fragmentation, and workspaces of kernels and communication.
"""

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._redistribute import _gen_transform_infos
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.distributed.tensor.parallel import loss_parallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.distributed.layout import Layout
from stages.distributed.parallelize import ModelPart, ModelParts, apply_fsdp, make_mesh, split_model
from stages.distributed.pipeline import build_pipeline_schedule, in_flight
from stages.interface import StageError
from stages.model.llama import Llama, LlamaConfig
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch
from stages.training.optimizer import AdamW

FLOAT, HALF = 4, 2
"""Bytes of float32 (weights, gradients and moments) and of bfloat16 (computation)."""


def measure_rank_memory(
    shape: LlamaConfig, layout: Layout, length: int, num_micro_batches: int, stage: int, micro_batch_size: int = 1
) -> dict[str, int]:
    """Peak bytes of the ranks of pipeline stage `stage`, by kind.

    A step has `num_micro_batches` of `micro_batch_size` sequences of `length` tokens on each data-parallel rank. Kinds:

    - `parameters`: the float32 shard; `gathered`: the unsharded bfloat16 copy, kept after the forward pass
    - `gradients`: float32, the shard, and unsharded: with a pipeline those of all layers, else of one layer
    - `optimizer`: both moments
    - `activations`; `recomputed`: activations that the backward pass of a layer recomputes
    - `buffers`: receive buffers of the pipeline

    Raises StageError if the layout does not fit the model.
    """
    layout.check(shape, length)
    with fake_process_group(layout.world_size, stage * layout.cp * layout.tp):
        mesh = make_mesh(layout, "cpu")
        with torch.device("meta"):
            model = Llama(shape)
        parts = split_model(model, layout, mesh)
        largest = max(sum(local_shard(p).numel() for p in layer.parameters()) for layer in model.model.layers)
        unsharded = sum(local_shard(p).numel() for p in parts.parameters())
        bytes_by_kind: dict[Any, int] = {}
        for part in parts.parts:
            if _kind(part) not in bytes_by_kind:
                bytes_by_kind[_kind(part)] = activation_bytes(part, length, micro_batch_size)  # type: ignore[arg-type]
        stage_bytes = [bytes_by_kind[_kind(part)] for part in parts.parts]
        recomputed = recomputed_bytes(parts, length, micro_batch_size)
        activations, buffers = peak_activations(parts, stage_bytes, length, num_micro_batches, micro_batch_size)
        for parameter in parts.parameters():
            parameter.data = parameter.data.float()
        apply_fsdp(parts, torch.bfloat16)
        optimizer = AdamW(parts, 0.9, 0.95, 1e-8, 0.1)
        sharded = sum(local_shard(p).numel() for p in parts.parameters())
        moments = sum(local_shard(m).numel() for m in (*optimizer.first.values(), *optimizer.second.values()))
    return {
        "parameters": FLOAT * sharded,
        "gathered": HALF * unsharded,
        "gradients": FLOAT * ((unsharded if layout.pp > 1 else largest) + sharded),
        "optimizer": FLOAT * moments,
        "activations": activations,
        "recomputed": recomputed,
        "buffers": buffers,
    }


def peak_activations(
    parts: ModelParts, stage_bytes: list[int], length: int, num_micro_batches: int, micro_batch_size: int
) -> tuple[int, int]:
    """Bytes of activations at the peak of the schedule, given those of each stage for one micro-batch, and of buffers.

    torch's pipeline has one buffer per micro-batch and stage for the input, and one for the gradient of the output.
    """
    layout = parts.layout
    if layout.pp == 1:
        return stage_bytes[0], 0
    schedule = build_pipeline_schedule(parts, num_micro_batches, lambda logits, targets: logits, "cpu")
    rank = parts.mesh["pp"].get_local_rank()
    peak = max(
        sum(count * each for count, each in zip(waiting, stage_bytes, strict=True))
        for waiting in in_flight(schedule, layout, rank)
    )
    hidden = HALF * micro_batch_size * length // layout.cp // layout.tp * parts.config.hidden_size
    ends = sum(2 - int(first) - int(last) for _, first, last in map(_kind, parts.parts))
    return peak, ends * num_micro_batches * hidden


def recomputed_bytes(parts: ModelParts, length: int, micro_batch_size: int) -> int:
    """Bytes of one layer's activations that are recomputed for its backward pass."""
    layers = max(parts.parts, key=lambda part: len(part.model.layers))  # type: ignore[union-attr, arg-type]
    assert isinstance(layers, ModelPart)
    if layers.layout.recompute == "none":
        return 0
    kept, layout = activation_bytes(layers, length, micro_batch_size), layers.layout
    layers.layout = layout.model_copy(update={"recompute": "none"})
    total = activation_bytes(layers, length, micro_batch_size)
    layers.layout = layout
    return (total - kept) // max(1, len(layers.model.layers))  # type: ignore[arg-type]


def activation_bytes(part: ModelPart, length: int, micro_batch_size: int) -> int:
    """Bytes alive after the forward pass on one micro-batch, without the parameters and the input buffer."""
    part.to(torch.bfloat16)
    part.mask, part.attention = _no_mask, _flash
    layout, width = part.layout, part.config.hidden_size
    starts = torch.zeros(micro_batch_size, length, dtype=torch.long, device="meta")
    tokens = starts[:, : length // layout.cp]
    hidden = torch.empty(micro_batch_size, tokens.shape[1] // layout.tp, width, dtype=torch.bfloat16, device="meta")
    x = tokens if part.first else hidden.requires_grad_()
    with LiveTensors([*part.parameters(), x]) as live_tensors, loss_parallel():
        if part.last:
            output: Any = next_token_loss(lambda *_: part(x, starts), TokenBatch(tokens, tokens.clone(), None))  # type: ignore[arg-type]
        else:
            output = part(x, starts)
        gc.collect()
        size = live_tensors.bytes()
    del output
    return size


def _kind(part: Any) -> tuple[int, bool, bool]:
    """Key of a part: parts with equal keys need the same memory."""
    return len(part.model.layers), part.first, part.last


class LiveTensors(TorchDispatchMode):
    """Tracks the tensors that are created in this mode and still alive, except `excluded`; views count once."""

    def __init__(self, excluded: Iterable[Tensor]) -> None:
        super().__init__()
        self._excluded = {local_shard(tensor).untyped_storage()._cdata for tensor in excluded}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def add(self, value: Any) -> None:
        if isinstance(value, Tensor):
            storage = local_shard(value).untyped_storage()
            if storage._cdata not in self._excluded:
                self._seen[storage._cdata] = weakref.ref(storage)

    def bytes(self) -> int:
        storages = [reference() for reference in self._seen.values()]
        return sum(storage.nbytes() for storage in storages if storage is not None)

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = operation(*arguments, **(named or {}))
        for value in tree_leaves(result):
            self.add(value)
        return result


def local_shard(tensor: Tensor) -> Tensor:
    """The local shard of a DTensor; any other tensor as it is."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


@contextmanager
def fake_process_group(ranks: int, rank: int) -> Iterator[None]:
    """A process group of `ranks` ranks in which only this process exists, as rank `rank`."""
    if dist.is_initialized():
        raise StageError("cannot measure memory: this process already belongs to a process group")
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()
        # DTensor caches meshes with their process groups; an equal mesh would get the destroyed groups.
        _gen_transform_infos.cache_clear()
        _clear_sharding_prop_cache()


def _no_mask(starts: Tensor, positions: Tensor) -> None:
    """A GPU's attention kernel does not materialize the mask."""


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: None) -> Tensor:
    """Flash attention: keeps its inputs, its output and one number per query."""
    out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0]
    return out.transpose(1, 2).flatten(2)
