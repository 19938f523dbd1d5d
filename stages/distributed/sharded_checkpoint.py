"""Checkpoints that every rank writes its shard of, and that load at any other layout (torch.distributed.checkpoint)."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from stages.interface import StageError, is_full
from stages.training.checkpoint import KEEP, TrainingState, digest_of, no_space, write_json

DIGESTS = "sha256.json"
"""The last file of a checkpoint: what has none, or another than its files' digests, is not whole."""


def save(state: TrainingState, directory: Path, alone: bool = False, keep: int = KEEP) -> None:
    """Writes directory/sharded-<n>, whole or not at all, then drops all but the last `keep`.

    Every rank calls it, or one that holds the whole state is `alone`. StageError on every rank where one cannot write;
    the checkpoints before stay.
    """
    final, partial = directory / f"sharded-{state.step:09d}", directory / "partial-sharded"
    tensors = _tensors(state)
    full = no_space(directory, state.step, tensors)

    def begin() -> None:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)

    def seal() -> None:
        write_json(partial / "state.json", state.facts())
        for name in (".metadata", "state.json"):
            digests[name] = digest_of(partial / name)
        write_json(partial / DIGESTS, digests)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in _found(directory)[:-keep]:
            shutil.rmtree(old)

    try:
        _by_the_first(begin, alone, full)
        try:
            dcp.save(tensors, checkpoint_id=partial, no_dist=alone)
        except CheckpointException as error:  # on every rank, with what went wrong on any
            why = [failure for failure, _ in error.failures.values()]
            raise StageError(full if any(map(is_full, why)) else f"{directory}: no checkpoint: {why[0]}") from None
        mine = partial.glob("__*" if alone else f"__{dist.get_rank()}_*")
        digests = _merged({path.name: digest_of(path) for path in sorted(mine)}, alone)
        _by_the_first(seal, alone, full)
    except StageError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _by_the_first(work: Callable[[], None], alone: bool, full: str) -> None:
    """Does `work` on the first rank while the others wait; where it fails, every rank raises the same StageError."""
    problem: list[str | None] = [None]
    if alone or dist.get_rank() == 0:
        try:
            work()
        except OSError as error:
            problem = [full if is_full(error) else str(error)]
    if not alone:
        dist.broadcast_object_list(problem)
    if problem[0] is not None:
        raise StageError(problem[0])


def _merged(mine: dict[str, Any], alone: bool) -> dict[str, Any]:
    """What all ranks have found, on every rank."""
    if alone or not dist.is_initialized():
        return mine
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return {name: value for each in found for name, value in each.items()}


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
    if dist.get_rank() == 0:
        path.unlink(missing_ok=True)  # the one before is mapped still
        dcp.load(mapped(path, shapes, shared=True), checkpoint_id=_found(directory)[-1], no_dist=True)
    dist.barrier()
    return mapped(path, shapes)


def mapped(path: Path, shapes: Mapping[str, torch.Size], shared: bool = False) -> dict[str, Tensor]:
    """float32 tensors that lie in a file; what is changed in them goes there where they are `shared`."""
    sizes = [shape.numel() for shape in shapes.values()]
    flat = torch.from_file(str(path), shared=shared, size=sum(sizes))
    pieces = zip(shapes.items(), flat.split(sizes), strict=True)
    return {name: piece.view(shape) for (name, shape), piece in pieces}


def _found(directory: Path) -> list[Path]:
    """The checkpoints in `directory`, the newest last."""
    return sorted(directory.glob("sharded-?????????"))


def resume(state: TrainingState, directory: Path, note: Callable[[str], None] = lambda text: None) -> bool:
    """Goes on from the newest whole checkpoint in `directory`; False where there is none. Every rank calls it.

    One that is damaged is put aside under another name, told to `note`, and the one before is taken. StageError where
    the checkpoint is of other data.
    """
    for path in reversed(_found(directory)):
        wrong = _damage(path)
        if wrong is None:
            _load(state, path)
            return True
        aside = path.with_name(f"damaged-{path.name}")
        if not dist.is_initialized() or dist.get_rank() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            note(f"{path} is damaged ({wrong}): put aside as {aside.name}, the checkpoint before it is tried")
    return False


def _damage(path: Path) -> str | None:
    """Which file of a checkpoint is not as it was written; None where all are. Each rank reads its share of them."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    wrong = {}
    try:
        digests: dict[str, str] = json.loads((path / DIGESTS).read_text())
        for name in sorted(digests)[rank::ranks]:
            if digest_of(path / name) != digests[name]:
                wrong[name] = f"{name} is not what was written"
    except (OSError, ValueError) as error:
        wrong[DIGESTS] = str(error)
    found = _merged(wrong, alone=False)
    return min(found.values(), default=None)


def _load(state: TrainingState, path: Path) -> None:
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
