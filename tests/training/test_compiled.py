"""Compiled layers train what eager ones do, twice the same bytes, and leave an eager model behind."""

import shutil
from pathlib import Path

import pytest
import torch

from stages.interface import StageError
from stages.model.llama import Llama, LlamaConfig
from stages.pretraining.initial import RampBatches
from stages.training import compiled
from stages.training.language_modelling import MixtureBatches, next_token_loss
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import train
from stages.training.schedule import Schedule
from tests.fixtures import MIX, VOCAB_SIZE, World, settings
from tests.recorder import Recorder

SHAPE = LlamaConfig(VOCAB_SIZE, 16, 2, 2, 1, 32)
STEPS = 6

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")


def trained(world: World, scratch: Path, compile_it: bool, stops: tuple[int, ...] = ()) -> tuple[Llama, list[float]]:
    """The model and its losses, stopped and resumed after each of `stops`. Sequences grow longer on the way."""
    shards = TokenShards(world.tokens)
    parts = [MixtureBatches(Mixture(shards, "train", MIX.shares(), length, 1), 64 // length, 32) for length in (16, 32)]
    batches = RampBatches(parts, [2, STEPS - 2])
    options = settings(compile=compile_it, checkpoint_seconds=1e-9)
    schedule = Schedule(peak=1e-2, warmup=2, steps=STEPS, floor=0.1)
    for max_steps in (*stops, STEPS):
        model = Llama(SHAPE).init_weights(1)
        history, *_ = train(
            model,
            batches,
            next_token_loss,
            schedule,
            options,
            scratch=scratch,
            context=Recorder(scratch),
            title="compiled",
            max_steps=max_steps,
        )
    return model, [row["loss"] for row in history]


@pytest.mark.timeout(300)
def test_compiled_training_matches_eager_training(world: World, tmp_path: Path) -> None:
    eager, expected = trained(world, tmp_path / "eager", False)
    model, losses = trained(world, tmp_path / "one", True)
    assert losses == pytest.approx(expected, rel=1e-5) and losses[-1] < losses[0]
    again, _ = trained(world, tmp_path / "two", True, stops=(2, 3))
    for (name, value), other, plain in zip(
        model.state_dict().items(), again.parameters(), eager.parameters(), strict=True
    ):
        assert torch.equal(value, other), name
        torch.testing.assert_close(value, plain, rtol=1e-3, atol=1e-4)
    assert not model.model.compiled and not torch.are_deterministic_algorithms_enabled()
    tokens = torch.arange(1, 9)[None]
    loaded = Llama(SHAPE)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens), loaded(tokens))


def test_too_many_shapes_stop_the_run(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run eagerly: which shape that is, and so the bytes, would depend on where the run was resumed."""
    monkeypatch.setattr(compiled, "MAX_SHAPES", 1)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        trained(world, tmp_path, True)


def test_model_parts_of_ranks_are_refused() -> None:
    with pytest.raises(StageError, match="set it to false, or"), compiled.compiled(torch.nn.Linear(2, 2), True):
        pass
