"""Training state on disk: written whole or not at all, the last few kept, refused where it belongs to another run.

A copy of the state is written by a thread of its own while training goes on. Its files lie under another name until all
are on the disk, so a kill while they are written costs that checkpoint and no other.
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
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.interface import StageError, is_full
from stages.training.optimizer import AdamW

KEEP = 2
"""Checkpoints kept where nobody says how many: the newest, and one to fall back on."""

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
    """All that the next step depends on besides the batches."""

    model: nn.Module
    optimizer: AdamW
    average: Average
    fingerprint: str
    """Of the batches: a checkpoint made on other data is refused."""
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, directory: Path, keep: int = KEEP) -> None:
        """Writes directory/step-<n>, then drops all but the last `keep`; StageError where the disk is full."""
        write(directory, self.tensors(), self.facts(), keep)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What goes into which file; the live tensors, not copies."""
        return {
            "model": {name: parameter.detach() for name, parameter in self.model.named_parameters()},
            "optimizer": self.optimizer.state(),
            "average": dict(self.average.mean),
        }

    def facts(self) -> dict[str, Any]:
        """What is no tensor."""
        averaged = self.average.count
        return {"step": self.step, "history": list(self.history), "averaged": averaged, "data": self.fingerprint}

    def resume(self, directory: Path, note: Callable[[str], None] = lambda text: None) -> bool:
        """Goes on from the newest whole checkpoint in `directory`; False where there is none.

        One that is damaged is put aside under another name, told to `note`, and the one before is taken. StageError
        where the checkpoint is of other data.
        """
        for path in sorted(directory.glob("step-*"), reverse=True):
            try:
                state, tensors = read(path)
            except (OSError, ValueError, SafetensorError) as error:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                note(f"{path} is damaged ({error}): put aside as {aside.name}, the checkpoint before it is tried")
                continue
            if state["data"] != self.fingerprint:
                raise StageError(f"{path} was trained on other data; delete {directory} to start afresh")
            parameters = dict(self.model.named_parameters())
            with torch.no_grad():
                for name, value in tensors["model"].items():
                    parameters[name].copy_(value)
            self.optimizer.load(tensors["optimizer"])
            self.average.mean, self.average.count = tensors["average"], state["averaged"]
            self.step, self.history = state["step"], state["history"]
            return True
        return False


class Checkpoints:
    """Writes checkpoints beside the training, one at a time; leaving it waits for the last one."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self.keep = directory, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def save(self, state: TrainingState) -> None:
        """Copies `state` and begins to write the copy; waits for the one before, whose error it raises."""
        self.wait()
        copy = {file: {name: t.clone() for name, t in tensors.items()} for file, tensors in state.tensors().items()}
        self._writing = self._thread.submit(write, self.directory, copy, state.facts(), self.keep)

    def check(self) -> None:
        """Raises what went wrong with a write that has ended; never waits."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written; StageError where the disk is full."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def write(directory: Path, tensors: Tensors, facts: Mapping[str, Any], keep: int) -> None:
    """Writes directory/step-<n> whole, then drops all but the last `keep`; StageError where the disk is full."""
    final, partial = directory / f"step-{facts['step']:09d}", directory / "partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, values in tensors.items():
            save_file({key: value.contiguous() for key, value in values.items()}, partial / f"{name}.safetensors")
            _to_disk(partial / f"{name}.safetensors")
        write_json(partial / "state.json", facts)
        # The last file: what has none, or another than its files' digests, is not whole.
        write_json(partial / "sha256.json", {path.name: digest_of(path) for path in sorted(partial.iterdir())})
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _to_disk(directory)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not is_full(error):
            raise
        every = {f"{file}/{name}": tensor for file, values in tensors.items() for name, tensor in values.items()}
        raise StageError(no_space(directory, facts["step"], every)) from error
    for old in sorted(directory.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Facts and tensors of a checkpoint; raises OSError, ValueError or SafetensorError where it is not as written."""
    digests: dict[str, str] = json.loads((path / "sha256.json").read_text())
    for name, digest in digests.items():
        if digest_of(path / name) != digest:
            raise ValueError(f"{name} is not what was written")
    facts: dict[str, Any] = json.loads((path / "state.json").read_text())
    return facts, {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}


def checkpoints_in(directory: Path) -> list[Path]:
    """Those of one process (step-<n>) and of ranks (sharded-<n>) in `directory`, those of ranks first."""
    return [path for kind in ("sharded", "step") for path in sorted(directory.glob(f"{kind}-?????????"))]


def newest_kind(directory: Path) -> Literal["step", "sharded"] | None:
    """Who left the newest checkpoint in `directory`: one process (step), or ranks (sharded), theirs before its own."""
    newest = max(checkpoints_in(directory), key=lambda path: path.name[-9:], default=None)
    return None if newest is None else "step" if newest.name.startswith("step-") else "sharded"


def no_space(directory: Path, step: int, tensors: Mapping[str, Tensor]) -> str:
    """What to say where these tensors do not fit the disk."""
    need = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return (
        f"{directory}: no space left for the checkpoint of step {step} ({need / 1e6:,.1f} MB); free some and run "
        "again: it goes on from the checkpoint before, which is whole"
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value`; returns when the kernel has it on the disk."""
    path.write_text(json.dumps(value))
    _to_disk(path)


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Returns when the kernel has `path`, a file or a directory, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
