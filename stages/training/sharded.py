"""Checkpoints that every rank writes its shard of, and that load at any other layout (torch.distributed.checkpoint)."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import checkpoint as dcp

from stages.interface import StageError
from stages.training.checkpoint import KEEP, TrainingState


def save(state: TrainingState, directory: Path, alone: bool = False, keep: int = KEEP) -> None:
    """Writes directory/sharded-<n>, whole or not at all, then drops all but the last `keep`.

    Every rank calls it, or one that holds the whole state is `alone`.
    """
    final, partial = directory / f"sharded-{state.step:09d}", directory / "partial-sharded"
    first = alone or dist.get_rank() == 0
    if first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if not alone:
        dist.barrier()
    dcp.save(_tensors(state), checkpoint_id=partial, no_dist=alone)
    if first:
        facts = {"step": state.step, "history": state.history, "averaged": state.average.count}
        (partial / "state.json").write_text(json.dumps(facts | {"data": state.fingerprint}))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(directory.glob("sharded-*"))[:-keep]:
            shutil.rmtree(old)
    if not alone:
        dist.barrier()


class Together:
    """Writes sharded checkpoints; every rank saves at the same step, and each waits for it."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self.keep = directory, keep

    def __enter__(self) -> "Together":
        return self

    def __exit__(self, *error: object) -> None: ...

    def save(self, state: TrainingState) -> None:
        """Writes the state."""
        save(state, self.directory, keep=self.keep)

    def check(self) -> None:
        """Nothing is ever being written while training goes on."""


def assembled(directory: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Tensors of the newest checkpoint as float32 and whole, under its names, on every rank.

    The first rank puts them together in a file, which all map into memory: a rank that changes them copies the pages
    it changes.
    """
    path = directory / "whole.bin"

    def mapped(shared: bool) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in shapes.values()]
        flat = torch.from_file(str(path), shared=shared, size=sum(sizes))
        pieces = zip(shapes.items(), flat.split(sizes), strict=True)
        return {name: piece.view(shape) for (name, shape), piece in pieces}

    if dist.get_rank() == 0:
        path.unlink(missing_ok=True)  # the one before is mapped still
        dcp.load(mapped(shared=True), checkpoint_id=newest(directory), no_dist=True)
    dist.barrier()
    return mapped(shared=False)


def newest(directory: Path) -> Path | None:
    """The last checkpoint in `directory`."""
    return max(directory.glob("sharded-*"), default=None)


def load(state: TrainingState, path: Path | None) -> None:
    """Goes on from the checkpoint at `path`; raises StageError where it is of other data."""
    if path is None:
        raise StageError("there is no sharded checkpoint to go on from")
    facts: dict[str, Any] = json.loads((path / "state.json").read_text())
    if facts["data"] != state.fingerprint:
        raise StageError(f"{path} was trained on other data; delete {path.parent} to start afresh")
    state.average.count = facts["averaged"]
    if state.average.count and not state.average.mean:
        state.average.mean = {name: torch.zeros_like(p) for name, p in state.model.named_parameters()}
    dcp.load(_tensors(state), checkpoint_id=path, no_dist=not dist.is_initialized())
    state.step, state.history = facts["step"], facts["history"]


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state, under the names of the whole model."""
    tensors = {f"model/{name}": p.detach() for name, p in state.model.named_parameters()}
    tensors |= {f"average/{name}": tensor for name, tensor in state.average.mean.items()}
    if state.optimizer is not None:
        tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.state().items()}
    return tensors
