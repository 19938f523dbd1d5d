"""A training's layers and cross entropy through torch.compile: the same matrix products, with the operations between
them fused.

Rounding differs from an eager run, so `training.compile` changes results. Runs use torch's deterministic algorithms
meanwhile: two runs have the same bytes, also if one was killed and resumed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.interface import StageError
from stages.model.llama import Decoder

MAX_SHAPES = 32
"""Batch shapes that one training may have: parts of a ramp, and their last micro-batches."""


@contextmanager
def compiled(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Runs the decoder layers of `model` and `cross_entropy` compiled, once per batch shape; does nothing unless
    `enabled`.

    Raises StageError for other models than this project's, for a rank's part of a model, and without a C++ compiler.
    More than `MAX_SHAPES` shapes raise torch's FailOnRecompileLimitHit: torch would run the rest eagerly, and the bytes
    would depend on which shapes came first.
    """
    if not enabled:
        yield
        return
    decoder = getattr(model, "model", None)
    if not isinstance(decoder, Decoder):
        raise StageError("training.compile is for one process: set it to false, or cluster.launcher to here")
    _check_compiler(next(model.parameters()).device.type)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    decoder.compiled = True
    for layer in decoder.layers:
        layer.compile(dynamic=False)
    try:
        with torch._dynamo.config.patch(recompile_limit=MAX_SHAPES, fail_on_recompile_limit_hit=True):
            yield
    finally:
        torch._dynamo.reset()  # so that the limit counts the next training's shapes only
        torch.use_deterministic_algorithms(deterministic)
        decoder.compiled = False
        for layer in decoder.layers:
            layer._compiled_call_impl = None


def cross_entropy(model: nn.Module, logits: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    """Negative log-likelihood in nats of targets [B, T] given logits [B, T, V], summed without `ignore_index`."""
    is_compiled = getattr(getattr(model, "model", None), "compiled", False)
    return (_compiled_cross_entropy() if is_compiled else _cross_entropy)(logits, targets, ignore_index)


def _cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=ignore_index, reduction="sum")


@cache
def _compiled_cross_entropy() -> Callable[[Tensor, Tensor, int], Tensor]:
    return torch.compile(_cross_entropy, dynamic=False)  # not at import time, which would take three seconds more


def _check_compiler(device: str) -> None:
    if device != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise StageError("training.compile needs a C++ compiler: install g++, or set it to false") from None
