"""The memory that a rank of a cluster needs, without the cluster (3.3.2): the paper's memory consumption estimator.

The model is built without data (torch's meta device) and sharded by the code that trains it, under a process group
that only pretends to have its ranks. So parameters, gradients and optimizer state are counted, not estimated;
activations are what is still alive after a forward pass of the sharded parts, times the micro-batches that the schedule
keeps waiting.
Not counted: the allocator's fragments, workspaces of kernels and of communication.
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
from stages.distributed.parallelize import Part, Parts, cut, make_mesh, shard
from stages.distributed.pipeline import in_flight, interleaved
from stages.interface import StageError
from stages.model.llama import Llama, LlamaConfig
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch
from stages.training.optimizer import AdamW

FLOAT, HALF = 4, 2
"""Bytes of float32 (weights, gradients and moments) and of bfloat16 (computation)."""


def rank_memory(
    shape: LlamaConfig, layout: Layout, length: int, microbatches: int, stage: int, sequences: int = 1
) -> dict[str, int]:
    """Bytes that the ranks of pipeline stage `stage` need at the most, by kind.

    A step has `microbatches` of `sequences` sequences of `length` tokens on each data-parallel rank. Kinds:

    - `parameters`: the float32 shard; `gathered`: in bfloat16, not sharded again after the forward pass
    - `gradients`: float32, the shard, and unsharded: in a pipeline all, summed over the micro-batches, else a layer's
    - `optimizer`: both moments
    - `activations`; `recomputed`: what a layer's backward pass makes again
    - `buffers`: what is received from the neighbours in the pipeline

    Raises StageError where the layout does not fit the model.
    """
    layout.check(shape, length)
    with pretended(layout.ranks, stage * layout.cp * layout.tp):
        mesh = make_mesh(layout, "cpu")
        with torch.device("meta"):
            model = Llama(shape)
        parts = cut(model, layout, mesh)
        largest = max(sum(local(p).numel() for p in layer.parameters()) for layer in model.model.layers)
        unsharded = sum(local(p).numel() for p in parts.parameters())
        like: dict[Any, int] = {}
        for part in parts.parts:
            if _kind(part) not in like:
                like[_kind(part)] = activations(part, length, sequences)  # type: ignore[arg-type]
        kept = [like[_kind(part)] for part in parts.parts]
        again = recomputed(parts, length, sequences)
        activation_bytes, buffers = kept_at_most(parts, kept, length, microbatches, sequences)
        for parameter in parts.parameters():
            parameter.data = parameter.data.float()
        shard(parts, torch.bfloat16)
        optimizer = AdamW(parts, 0.9, 0.95, 1e-8, 0.1)
        sharded = sum(local(p).numel() for p in parts.parameters())
        moments = sum(local(m).numel() for m in (*optimizer.first.values(), *optimizer.second.values()))
    return {
        "parameters": FLOAT * sharded,
        "gathered": HALF * unsharded,
        "gradients": FLOAT * ((unsharded if layout.pp > 1 else largest) + sharded),
        "optimizer": FLOAT * moments,
        "activations": activation_bytes,
        "recomputed": again,
        "buffers": buffers,
    }


def kept_at_most(parts: Parts, kept: list[int], length: int, microbatches: int, sequences: int) -> tuple[int, int]:
    """Bytes of activations at the schedule's worst moment, given each part's for one micro-batch, and of buffers.

    torch's pipeline has a buffer for every micro-batch of each part, for its input and for its output's gradient.
    """
    layout = parts.layout
    if layout.pp == 1:
        return kept[0], 0
    schedule = interleaved(parts, microbatches, lambda logits, targets: logits, "cpu")
    rank = parts.mesh["pp"].get_local_rank()
    worst = max(
        sum(count * each for count, each in zip(waiting, kept, strict=True))
        for waiting in in_flight(schedule, layout, rank)
    )
    hidden = HALF * sequences * length // layout.cp // layout.tp * parts.config.hidden_size
    ends = sum(2 - int(first) - int(last) for _, first, last in map(_kind, parts.parts))
    return worst, ends * microbatches * hidden


def recomputed(parts: Parts, length: int, sequences: int) -> int:
    """Bytes of one layer's activations that are made again for its backward pass."""
    layers = max(parts.parts, key=lambda part: len(part.model.layers))  # type: ignore[union-attr, arg-type]
    assert isinstance(layers, Part)
    if layers.layout.recompute == "none":
        return 0
    kept, layout = activations(layers, length, sequences), layers.layout
    layers.layout = layout.model_copy(update={"recompute": "none"})
    whole = activations(layers, length, sequences)
    layers.layout = layout
    return (whole - kept) // max(1, len(layers.model.layers))  # type: ignore[arg-type]


def activations(part: Part, length: int, sequences: int) -> int:
    """Bytes alive after the part's forward pass on one micro-batch, besides its parameters and its input's buffer."""
    part.to(torch.bfloat16)
    part.mask, part.attend = _no_mask, _flash
    layout, width = part.layout, part.config.hidden_size
    starts = torch.zeros(sequences, length, dtype=torch.long, device="meta")
    tokens = starts[:, : length // layout.cp]
    hidden = torch.empty(sequences, tokens.shape[1] // layout.tp, width, dtype=torch.bfloat16, device="meta")
    x = tokens if part.first else hidden.requires_grad_()
    with Alive([*part.parameters(), x]) as alive, loss_parallel():
        if part.last:
            held: Any = next_token_loss(lambda *_: part(x, starts), TokenBatch(tokens, tokens.clone(), None))  # type: ignore[arg-type]
        else:
            held = part(x, starts)
        gc.collect()
        size = alive.bytes()
    del held
    return size


def _kind(part: Any) -> tuple[int, bool, bool]:
    """Parts of one kind need the same memory."""
    return len(part.model.layers), part.first, part.last


class Alive(TorchDispatchMode):
    """Knows which of the tensors made under it are still alive; a tensor and its views count once."""

    def __init__(self, others: Iterable[Tensor]) -> None:
        super().__init__()
        self._others = {local(tensor).untyped_storage()._cdata for tensor in others}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def add(self, value: Any) -> None:
        if isinstance(value, Tensor):
            storage = local(value).untyped_storage()
            if storage._cdata not in self._others:
                self._seen[storage._cdata] = weakref.ref(storage)

    def bytes(self) -> int:
        storages = [reference() for reference in self._seen.values()]
        return sum(storage.nbytes() for storage in storages if storage is not None)

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = operation(*arguments, **(named or {}))
        for value in tree_leaves(result):
            self.add(value)
        return result


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


@contextmanager
def pretended(ranks: int, rank: int) -> Iterator[None]:
    """A process group of so many ranks of which this process is one and the others do not exist."""
    if dist.is_initialized():
        raise StageError("memory is measured in a process that is no rank of a real process group")
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()
        # DTensor remembers meshes, and with them groups that are gone; an equal mesh would get those.
        _gen_transform_infos.cache_clear()
        _clear_sharding_prop_cache()


def _no_mask(starts: Tensor, positions: Tensor) -> None:
    """The kernel of a GPU makes its mask from a few bytes."""


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: None) -> Tensor:
    """Attention as a GPU's kernel does it: keeps its inputs, its output and a number for each query."""
    out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0]
    return out.transpose(1, 2).flatten(2)
