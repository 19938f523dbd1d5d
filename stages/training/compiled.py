"""A training's layers and cross entropy through torch.compile: the same products, with what lies between them fused.

Float rounding is not that of the eager run, so `training.compile` is part of what a model depends on. With torch's
deterministic algorithms, which are on meanwhile, a run has the same bytes as another, and as one killed and resumed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.interface import StageError
from stages.model.llama import Decoder

SHAPES = 32
"""Of batches, that one training may have: parts of a ramp, and their last micro-batches."""


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """While it is entered, the decoder layers of `model` run compiled, anew for each shape of a batch, and
    `cross_entropy` is compiled for it; does nothing where it is not wanted.

    Raises StageError for other models than this project's, also parts of one on ranks, and without a C++ compiler.
    More than `SHAPES` shapes raise torch's FailOnRecompileLimitHit: to run the rest of them eagerly, as torch would,
    makes the bytes depend on which came first.
    """
    if not wanted:
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
        with torch._dynamo.config.patch(recompile_limit=SHAPES, fail_on_recompile_limit_hit=True):
            yield
    finally:
        torch._dynamo.reset()  # the next training has all of its shapes again
        torch.use_deterministic_algorithms(deterministic)
        decoder.compiled = False
        for layer in decoder.layers:
            layer._compiled_call_impl = None


def cross_entropy(model: nn.Module, logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """Negative log-likelihood in nats of targets [B, T] by logits [B, T, V], summed; `ignored` ones do not count."""
    function = _fused() if getattr(getattr(model, "model", None), "compiled", False) else _summed
    return function(logits, targets, ignored)


def _summed(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=ignored, reduction="sum")


@cache
def _fused() -> Callable[[Tensor, Tensor, int], Tensor]:
    return torch.compile(_summed, dynamic=False)  # not at import, which it would make take three seconds more


def _check_compiler(device: str) -> None:
    if device != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise StageError("training.compile needs a C++ compiler: install g++, or set it to false") from None
