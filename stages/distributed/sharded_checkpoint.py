"""Checkpoints that every rank writes a shard of and that load at any other layout (torch.distributed.checkpoint)."""

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

from stages.interface import StageError, is_disk_full
from stages.training.checkpoint import (
    DIGESTS,
    KEEP,
    TrainingState,
    check_fingerprint,
    disk_full_message,
    file_sha256,
    set_aside,
    write_json,
)


def save_checkpoint(state: TrainingState, directory: Path, single_process: bool = False, keep: int = KEEP) -> None:
    """Writes directory/sharded-<n> atomically, then deletes all but the last `keep`.

    Every rank calls it, or a `single_process` that holds the full state. StageError on every rank if one cannot write;
    earlier checkpoints are kept.
    """
    final, partial = directory / f"sharded-{state.step:09d}", directory / "partial-sharded"
    tensors = _state_tensors(state)
    disk_full = disk_full_message(directory, state.step, tensors)

    def prepare() -> None:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)

    def publish() -> None:
        write_json(partial / "state.json", state.metadata())
        for name in (".metadata", "state.json"):
            digests[name] = file_sha256(partial / name)
        write_json(partial / DIGESTS, digests)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in _list_checkpoints(directory)[:-keep]:
            shutil.rmtree(old)

    try:
        _run_on_first_rank(prepare, single_process, disk_full)
        try:
            dcp.save(tensors, checkpoint_id=partial, no_dist=single_process)
        except CheckpointException as error:  # raised on every rank, with the failures of all
            failures = [failure for failure, _ in error.failures.values()]
            full = any(map(is_disk_full, failures))
            raise StageError(disk_full if full else f"{directory}: no checkpoint: {failures[0]}") from None
        written = partial.glob("__*" if single_process else f"__{dist.get_rank()}_*")
        digests = _all_gather({path.name: file_sha256(path) for path in sorted(written)}, single_process)
        _run_on_first_rank(publish, single_process, disk_full)
    except StageError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _run_on_first_rank(work: Callable[[], None], single_process: bool, disk_full: str) -> None:
    """Runs `work` on the first rank while the others wait; if it fails, every rank raises the same StageError."""
    problem: list[str | None] = [None]
    if single_process or dist.get_rank() == 0:
        try:
            work()
        except OSError as error:
            problem = [disk_full if is_disk_full(error) else str(error)]
    if not single_process:
        dist.broadcast_object_list(problem)
    if problem[0] is not None:
        raise StageError(problem[0])


def _all_gather(local: dict[str, Any], single_process: bool) -> dict[str, Any]:
    """The union of all ranks' entries, on every rank."""
    if single_process or not dist.is_initialized():
        return local
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, local)
    return {name: value for each in gathered for name, value in each.items()}


class ShardedCheckpointer:
    """Writes sharded checkpoints; every rank saves at the same step and waits for the write."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self.keep = directory, keep

    def __enter__(self) -> "ShardedCheckpointer":
        return self

    def __exit__(self, *error: object) -> None: ...

    def save(self, state: TrainingState) -> None:
        """Writes the state."""
        save_checkpoint(state, self.directory, keep=self.keep)

    def check(self) -> None:
        """Does nothing: no write runs in the background."""


def load_full_tensors(directory: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Unsharded float32 tensors of the newest checkpoint, by their names in it, on every rank.

    The first rank writes them to a file, which all ranks map into memory copy-on-write.
    """
    path = directory / "whole.bin"
    if dist.get_rank() == 0:
        path.unlink(missing_ok=True)  # an earlier one may still be mapped
        newest = _list_checkpoints(directory)[-1]
        dcp.load(map_tensors(path, shapes, shared=True), checkpoint_id=newest, no_dist=True)
    dist.barrier()
    return map_tensors(path, shapes)


def map_tensors(path: Path, shapes: Mapping[str, torch.Size], shared: bool = False) -> dict[str, Tensor]:
    """float32 tensors mapped from a file; changes to them are written to it if `shared`."""
    sizes = [shape.numel() for shape in shapes.values()]
    flat = torch.from_file(str(path), shared=shared, size=sum(sizes))
    pieces = zip(shapes.items(), flat.split(sizes), strict=True)
    return {name: piece.view(shape) for (name, shape), piece in pieces}


def _list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in `directory`, oldest first."""
    return sorted(directory.glob("sharded-?????????"))


def load_checkpoint(state: TrainingState, directory: Path, note: Callable[[str], None]) -> bool:
    """Loads the newest intact checkpoint in `directory`; False if there is none. Every rank calls it.

    A damaged one is renamed and reported to `note`, and the previous one is tried. StageError if the checkpoint is of
    other data.
    """
    for path in reversed(_list_checkpoints(directory)):
        damage = _find_damage(path)
        if damage is None:
            _load(state, path)
            return True
        if not dist.is_initialized() or dist.get_rank() == 0:
            note(set_aside(path, damage))
    return False


def _find_damage(path: Path) -> str | None:
    """A file of a checkpoint that is not as it was written; None if all are. Each rank reads its share of them."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    damage = {}
    try:
        digests: dict[str, str] = json.loads((path / DIGESTS).read_text())
        for name in sorted(digests)[rank::ranks]:
            if file_sha256(path / name) != digests[name]:
                damage[name] = f"{name} has another digest than {DIGESTS} says"
    except (OSError, ValueError) as error:
        damage[DIGESTS] = str(error)
    return min(_all_gather(damage, single_process=False).values(), default=None)


def _load(state: TrainingState, path: Path) -> None:
    metadata: dict[str, Any] = json.loads((path / "state.json").read_text())
    check_fingerprint(path, metadata, state.fingerprint)
    state.average.count = metadata["averaged"]
    if state.average.count and not state.average.mean:
        state.average.mean = {name: torch.zeros_like(p) for name, p in state.model.named_parameters()}
    dcp.load(_state_tensors(state), checkpoint_id=path, no_dist=not dist.is_initialized())
    state.step, state.history = metadata["step"], metadata["history"]


def _state_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state, under the full model's names."""
    tensors = {f"model/{name}": p.detach() for name, p in state.model.named_parameters()}
    tensors |= {f"average/{name}": tensor for name, tensor in state.average.mean.items()}
    if state.optimizer is not None:
        tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.state().items()}
    return tensors
