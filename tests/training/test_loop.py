import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.interface import StageError
from stages.model.files import load_model
from stages.model.llama import Llama
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture
from stages.training.loop import train
from stages.training.optimizer import OptimizerState, load_optimizer_state, save_optimizer_state
from stages.training.schedule import Schedule
from tests.fixtures import MIX, World, settings
from tests.recorder import Recorder
from tests.training.trainings import batches, run, same


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_the_same_bytes(world: World, tmp_path: Path, precision: str) -> None:
    training = settings(precision=precision)
    first, history, _ = run(world, tmp_path / "a", batches(world), training)
    torch.rand(7)  # nothing draws from the global generator
    again, history_again, _ = run(world, tmp_path / "b", batches(world), training)
    assert same(first, again) and history == history_again
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())


def test_two_trainings_that_share_the_optimizer_state_equal_one(world: World, tmp_path: Path) -> None:
    """To the byte, as the phases of pretraining are; without them the second one is another."""
    mixture = Mixture(world.shards, "train", MIX.shares(), 32, 1)

    def trained(
        model: Llama, name: str, first: int, steps: int, optimizer_state: OptimizerState | None = None
    ) -> OptimizerState:
        data = MixtureBatches(mixture, 4, 100_000, first_sample=4 * first)
        done = train(
            model,
            data,
            next_token_loss,
            Schedule(1e-2, steps, decay="constant"),
            settings(),
            optimizer_state=optimizer_state,
            scratch=tmp_path / name,
            context=Recorder(tmp_path),
            title=name,
            return_optimizer_state=True,
        )
        return done.optimizer_state

    whole, parts, anew = (load_model(world.model) for _ in range(3))
    left = trained(whole, "whole", 0, 7)
    save_optimizer_state(trained(parts, "first", 0, 4), tmp_path)
    anew.load_state_dict(parts.state_dict())
    both = trained(parts, "second", 4, 3, load_optimizer_state(tmp_path))
    assert same(whole, parts) and left.keys() == both.keys()
    assert all(torch.equal(left[name], both[name]) for name in left)
    trained(anew, "anew", 4, 3)
    assert not same(whole, anew)


def test_training_lowers_the_held_out_loss(world: World, tmp_path: Path) -> None:
    windows = [validation_mixture(world.shards, MIX.shares(), 32, 1)]
    (before,) = held_out_losses(load_model(world.model), windows, 16, settings())
    model, history, _ = run(world, tmp_path, batches(world), settings(), steps=40)
    (after,) = held_out_losses(model, windows, 16, settings())
    assert before.mean() == pytest.approx(math.log(300), abs=0.2)  # an untrained model guesses
    assert after.mean() < before.mean() - 1 and history[-1]["loss"] < history[0]["loss"] - 1


def test_micro_batches_do_not_change_the_update(world: World, tmp_path: Path) -> None:
    # Adam divides by the gradient's size: eps keeps it from blowing rounding up where a gradient is next to nothing.
    whole, history, _ = run(world, tmp_path / "a", batches(world), settings(eps=1e-4))
    for micro_tokens in (32, 64, 128):
        cut, rows, _ = run(
            world, tmp_path / str(micro_tokens), batches(world, micro_tokens=micro_tokens), settings(eps=1e-4)
        )
        assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in history], rel=1e-5)
        assert [row["grad_norm"] for row in rows] == pytest.approx([row["grad_norm"] for row in history], rel=1e-4)
        for p, q in zip(whole.parameters(), cut.parameters(), strict=True):
            assert torch.allclose(p, q, atol=2e-6)


def test_the_first_update_is_adamw_on_the_mean_loss_clipped(world: World, tmp_path: Path) -> None:
    """Written out by hand: gradient of the mean over targets, clipped to norm 1, one step of AdamW with decay."""
    model = load_model(world.model)
    (batch,) = batches(world)(0)
    logits = model(batch.tokens, batch.starts).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets.flatten(), ignore_index=-100)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type]
    lr, clip = 3e-3, 0.1
    assert norm > clip
    expected = []
    for p, g in zip(model.parameters(), gradients, strict=True):
        g = g * clip / norm
        decay = 0.1 if p.dim() > 1 else 0.0
        expected.append(p.detach() * (1 - lr * decay) - lr * g / (g.abs() + 1e-5))
    trained, history, _ = run(world, tmp_path, batches(world), settings(clip=clip, eps=1e-5), steps=1)
    assert history[0]["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert history[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    assert history[0]["tokens"] == 6 * 32 and history[0]["lr"] == lr
    for p, q in zip(expected, trained.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(world: World, tmp_path: Path) -> None:
    calls = []

    def breaking(model: Llama, batch: Any) -> tuple[Tensor, dict[str, float]]:
        value, extra = next_token_loss(model, batch)
        calls.append(1)
        return (value * float("nan"), extra) if len(calls) == 4 else (value, extra)

    often = settings(checkpoint_seconds=1e-9)
    with pytest.raises(StageError, match=r"step 4: loss nan.*lower the learning rate"):
        run(world, tmp_path / "a", batches(world), often, steps=6, loss=breaking)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["step-000000002", "step-000000003"]
    resumed, history, _ = run(world, tmp_path / "a", batches(world), often, steps=6)
    straight, _, _ = run(world, tmp_path / "b", batches(world), settings(), steps=6)
    assert same(resumed, straight) and [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]


def test_the_average_is_the_mean_of_the_weights_after_average_at(world: World, tmp_path: Path) -> None:
    seen = []

    def watching(model: Llama, batch: Any) -> tuple[Tensor, dict[str, float]]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})  # after step len(seen) - 1
        return next_token_loss(model, batch)

    model, _, average = run(world, tmp_path, batches(world), settings(), steps=6, loss=watching, average_at=[2, 3, 6])
    seen.append(dict(model.named_parameters()))
    assert average.count == 3
    for name, value in average.mean.items():
        assert torch.allclose(value, (seen[2][name] + seen[3][name] + seen[6][name]) / 3, atol=1e-6)
