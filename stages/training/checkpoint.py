"""Training state on disk: written whole or not at all, the last few kept, refused where it belongs to another run."""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.interface import StageError
from stages.training.optimizer import AdamW

KEEP = 2


class Average:
    """Running mean of a model's weights (Polyak averaging, 3.4.3)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, model: nn.Module) -> None:
        self.count += 1
        for name, parameter in model.named_parameters():
            value = parameter.detach()
            if self.count == 1:
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

    def save(self, directory: Path) -> None:
        """Writes directory/step-<n>, then drops all but the last KEEP."""
        final = directory / f"step-{self.step:09d}"
        partial = directory / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial / "model.safetensors", dict(self.model.named_parameters()))
        _write(partial / "optimizer.safetensors", self.optimizer.state())
        _write(partial / "average.safetensors", self.average.mean)
        state = {"step": self.step, "history": self.history, "averaged": self.average.count, "data": self.fingerprint}
        with (partial / "state.json").open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(directory.glob("step-*"))[:-KEEP]:
            shutil.rmtree(old)

    def resume(self, directory: Path) -> bool:
        """Goes on from the newest checkpoint in `directory`; False where there is none."""
        found = sorted(directory.glob("step-*"))
        if not found:
            return False
        state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text())
        if state["data"] != self.fingerprint:
            raise StageError(f"{found[-1]} was trained on other data; delete {directory} to start afresh")
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in load_file(found[-1] / "model.safetensors").items():
                parameters[name].copy_(value)
        self.optimizer.load(load_file(found[-1] / "optimizer.safetensors"))
        self.average.mean = load_file(found[-1] / "average.safetensors")
        self.average.count = state["averaged"]
        self.step, self.history = state["step"], state["history"]
        return True


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
