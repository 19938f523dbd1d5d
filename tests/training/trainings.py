"""Small trainings that several tests of this folder run."""

from pathlib import Path
from typing import Any

import torch

from stages.model.files import load_model
from stages.model.llama import Llama
from stages.training.checkpoint import Average
from stages.training.language_modelling import MixtureBatches, next_token_loss
from stages.training.loader import Mixture
from stages.training.loop import train
from stages.training.parameters import Training
from stages.training.schedule import Schedule
from tests.fixtures import MIX, World
from tests.recorder import Recorder


def batches(world: World, seed: int = 1, size: int = 6, micro_tokens: int = 100_000) -> MixtureBatches:
    return MixtureBatches(Mixture(world.shards, "train", MIX.shares(), 32, seed), size, micro_tokens)


def run(
    world: World, scratch: Path, data: Any, training: Training, steps: int = 4, loss: Any = next_token_loss, **more: Any
) -> tuple[Llama, list[dict[str, float]], Average]:
    model = load_model(world.model)
    schedule = Schedule(3e-3, steps, 1, "cosine", 0.1)
    history, average, _ = train(
        model, data, loss, schedule, training, scratch=scratch, context=Recorder(scratch), title="test", **more
    )
    return model, history, average


def same(a: Llama, b: Llama) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
