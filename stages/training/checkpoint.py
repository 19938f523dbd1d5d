"""Training state on disk: written atomically, the last few kept, refused if it belongs to another run.

A thread writes a copy of the state while training continues. The files are in a partial directory until all are on the
disk, so a kill during a write costs that checkpoint only.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.interface import StageError, is_disk_full
from stages.training.optimizer import AdamW

KEEP = 2
"""Checkpoints kept by default: the newest, and a fallback."""
DIGESTS = "sha256.json"
"""The last file of a checkpoint: one without it, or whose files have other digests, is damaged."""

Tensors = Mapping[str, Mapping[str, Tensor]]
"""File -> name -> tensor."""


class Average:
    """Running mean of a model's weights (Polyak averaging, 3.4.3)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        self.count += 1
        for name, parameter in model.named_parameters():
            value = parameter.detach()
            if name not in self.mean:
                self.mean[name] = value.clone()
            else:
                self.mean[name].lerp_(value, 1 / self.count)


@dataclass
class TrainingState:
    """Everything that the next step depends on besides the batches."""

    model: nn.Module
    optimizer: AdamW
    average: Average
    fingerprint: str
    """Of the batches: a checkpoint of other data is refused."""
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, directory: Path, keep: int = KEEP) -> None:
        """Writes directory/step-<n>, then deletes all but the last `keep`; StageError if the disk is full."""
        write_checkpoint(directory, self.tensors(), self.metadata(), keep)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each file; the live tensors, not copies."""
        return {
            "model": {name: parameter.detach() for name, parameter in self.model.named_parameters()},
            "optimizer": self.optimizer.state(),
            "average": dict(self.average.mean),
        }

    def metadata(self) -> dict[str, Any]:
        """The part of the state that is not tensors."""
        averaged = self.average.count
        return {"step": self.step, "history": list(self.history), "averaged": averaged, "data": self.fingerprint}

    def load_checkpoint(self, directory: Path, note: Callable[[str], None] = lambda text: None) -> bool:
        """Loads the newest intact checkpoint in `directory`; False if there is none.

        A damaged one is renamed and reported to `note`, and the previous one is tried. StageError if the checkpoint is
        of other data.
        """
        for path in sorted(directory.glob("step-*"), reverse=True):
            try:
                metadata, tensors = read_checkpoint(path)
            except (OSError, ValueError, SafetensorError) as error:
                note(set_aside(path, error))
                continue
            check_fingerprint(path, metadata, self.fingerprint)
            parameters = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, value in tensors["model"].items():
                    parameters[name].copy_(value)
            self.optimizer.load(tensors["optimizer"])
            self.average.mean, self.average.count = tensors["average"], metadata["averaged"]
            self.step, self.history = metadata["step"], metadata["history"]
            return True
        return False


class AsyncCheckpointer:
    """Writes checkpoints in a background thread, one at a time; waits for the last one on exit."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self.keep = directory, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "AsyncCheckpointer":
        return self

    def save(self, state: TrainingState) -> None:
        """Starts to write a copy of `state`; first waits for the previous write, whose error it raises."""
        self.wait()
        copy = {file: {name: t.clone() for name, t in tensors.items()} for file, tensors in state.tensors().items()}
        self._pending = self._thread.submit(write_checkpoint, self.directory, copy, state.metadata(), self.keep)

    def check(self) -> None:
        """Raises the error of a write that has finished; never waits."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is being written; StageError if the disk is full."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def write_checkpoint(directory: Path, tensors: Tensors, metadata: Mapping[str, Any], keep: int) -> None:
    """Writes directory/step-<n>, then deletes all but the last `keep`; StageError if the disk is full."""
    final, partial = directory / f"step-{metadata['step']:09d}", directory / "partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, values in tensors.items():
            save_file({key: value.contiguous() for key, value in values.items()}, partial / f"{name}.safetensors")
            _fsync(partial / f"{name}.safetensors")
        write_json(partial / "state.json", metadata)
        write_json(partial / DIGESTS, {path.name: file_sha256(path) for path in sorted(partial.iterdir())})
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _fsync(directory)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not is_disk_full(error):
            raise
        flat = {f"{file}/{name}": tensor for file, values in tensors.items() for name, tensor in values.items()}
        raise StageError(disk_full_message(directory, metadata["step"], flat)) from error
    for old in sorted(directory.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Metadata and tensors of a checkpoint; raises OSError, ValueError or SafetensorError if it is damaged."""
    digests: dict[str, str] = json.loads((path / DIGESTS).read_text())
    for name, digest in digests.items():
        if file_sha256(path / name) != digest:
            raise ValueError(f"{name} has another digest than {DIGESTS} says")
    metadata: dict[str, Any] = json.loads((path / "state.json").read_text())
    return metadata, {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}


def check_fingerprint(path: Path, metadata: Mapping[str, Any], fingerprint: str) -> None:
    """Raises StageError if the checkpoint at `path` is of other data."""
    if metadata["data"] != fingerprint:
        raise StageError(f"{path} was trained on other data; delete {path.parent} to start from scratch")


def set_aside(path: Path, reason: object) -> str:
    """Renames a damaged checkpoint to damaged-<name>; returns a note about it."""
    aside = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    return f"{path} is damaged ({reason}): renamed to {aside.name}, trying the previous checkpoint"


def newest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint, of a single process (step-<n>) or of ranks (sharded-<n>), which is preferred at a tie."""
    paths = [path for kind in ("sharded", "step") for path in directory.glob(f"{kind}-?????????")]
    return max(paths, key=lambda path: path.name[-9:], default=None)


def is_sharded(path: Path | None) -> bool:
    """Whether the ranks of a process group wrote the checkpoint."""
    return path is not None and path.name.startswith("sharded-")


def disk_full_message(directory: Path, step: int, tensors: Mapping[str, Tensor]) -> str:
    """The error message for a checkpoint of these tensors that does not fit the disk."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return (
        f"{directory}: no space left for the checkpoint of step {step} ({size / 1e6:,.1f} MB); free some and run "
        "again: it resumes from the previous checkpoint, which is intact"
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` and syncs it to the disk."""
    path.write_text(json.dumps(value))
    _fsync(path)


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    """Syncs `path`, a file or a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
