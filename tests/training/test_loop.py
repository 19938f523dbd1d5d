import errno
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from stages.interface import StageError
from stages.model.files import load_model
from stages.model.llama import Llama
from stages.training import checkpoint, spikes
from stages.training.checkpoint import Average, TrainingState
from stages.training.curve import tail_mean, write_curve
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture
from stages.training.loop import train
from stages.training.optimizer import OptimizerState, load_optimizer_state, save_optimizer_state
from stages.training.parameters import Training, make_optimizer
from stages.training.schedule import Schedule
from tests.fixtures import MIX, World, settings
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_the_same_bytes(world: World, tmp_path: Path, precision: str) -> None:
    training = settings(precision=precision)
    first, history, _ = run(world, tmp_path / "a", batches(world), training)
    torch.rand(7)  # nothing draws from the global generator
    again, history_again, _ = run(world, tmp_path / "b", batches(world), training)
    assert same(first, again) and history == history_again
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())


def test_two_trainings_with_the_moments_handed_on_are_one(world: World, tmp_path: Path) -> None:
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


def test_it_learns(world: World, tmp_path: Path) -> None:
    windows = [validation_mixture(world.shards, MIX.shares(), 32, 1)]
    (before,) = held_out_losses(load_model(world.model), windows, 16, settings())
    model, history, _ = run(world, tmp_path, batches(world), settings(), steps=40)
    (after,) = held_out_losses(model, windows, 16, settings())
    assert before.mean() == pytest.approx(math.log(300), abs=0.2)  # an untrained model guesses
    assert after.mean() < before.mean() - 1 and history[-1]["loss"] < history[0]["loss"] - 1


def test_micro_batches_change_the_memory_not_the_update(world: World, tmp_path: Path) -> None:
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


def test_the_optimizer_does_what_torch_optim_adamw_does_and_norms_are_not_decayed(world: World) -> None:
    ours, theirs = load_model(world.model), load_model(world.model)
    optimizer = make_optimizer(ours, settings())
    matrices = [p for p in theirs.parameters() if p.dim() > 1]
    norms = [p for p in theirs.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    kept = settings()
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(kept.beta1, kept.beta2), eps=kept.eps, fused=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        optimizer.step(0.01)
        reference.step()
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


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


def test_a_checkpoint_of_other_data_is_refused(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    run(world, tmp_path, batches(world), often, steps=3)
    with pytest.raises(StageError, match="trained on other data"):
        run(world, tmp_path, batches(world, seed=2), often, steps=3)
    with pytest.raises(StageError, match="trained on other data"):
        run(world, tmp_path, batches(world, size=5), often, steps=3)


def test_a_torn_checkpoint_counts_for_nothing(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    straight, _, _ = run(world, tmp_path / "a", batches(world), settings(), steps=5)
    run(world, tmp_path / "b", batches(world), often, steps=5)
    newest = tmp_path / "b" / "step-000000005"
    newest.rename(tmp_path / "b" / "partial")
    (tmp_path / "b" / "partial" / "state.json").write_text('{"step": 5, "his')
    resumed, _, _ = run(world, tmp_path / "b", batches(world), often, steps=5)
    assert same(resumed, straight)
    assert json.loads((newest / "state.json").read_text())["step"] == 5


def test_a_run_ended_early_goes_on_as_if_it_had_not(world: World, tmp_path: Path) -> None:
    often = settings(checkpoint_seconds=1e-9)
    half, history, _ = run(world, tmp_path / "a", batches(world), often, steps=6, max_steps=3)
    straight, rows, _ = run(world, tmp_path / "b", batches(world), settings(), steps=6)
    assert [row["lr"] for row in history] == [row["lr"] for row in rows[:3]]  # on the whole run's schedule
    whole, _, _ = run(world, tmp_path / "a", batches(world), often, steps=6)
    assert same(whole, straight) and not same(half, straight)


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_checkpoints_are_kept_as_asked_for(world: World, tmp_path: Path, keep: int) -> None:
    run(world, tmp_path, batches(world), settings(checkpoint_seconds=1e-9, keep_checkpoints=keep), steps=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:09d}" for n in range(6 - keep, 6)]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "sha256.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_taken(
    file: str, harm: str, world: World, tmp_path: Path
) -> None:
    often = settings(checkpoint_seconds=1e-9)
    straight, _, _ = run(world, tmp_path, batches(world), often, steps=3)
    path = tmp_path / "step-000000003" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    if harm == "gone":
        path.unlink()
    model, notes = load_model(world.model), list[str]()
    state = TrainingState(model, make_optimizer(model, often), Average(), batches(world).fingerprint)
    assert state.load_checkpoint(tmp_path, notes.append) and state.step == 2
    assert len(notes) == 1 and "step-000000003 is damaged" in notes[0] and "trying the previous checkpoint" in notes[0]
    resumed, _, _ = run(world, tmp_path, batches(world), often, steps=3)
    assert same(resumed, straight)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000002", "step-000000003", "damaged-step-000000003"}


@pytest.mark.parametrize("at", range(1, 7))
def test_a_full_disk_is_said_and_the_checkpoint_before_stays_whole(
    at: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the writes of the third checkpoint it is that finds no space."""
    writes, fsync = [], checkpoint.os.fsync

    def full(file: int) -> None:
        writes.append(file)
        if len(writes) == 2 * 6 + at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    often = settings(checkpoint_seconds=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(StageError, match=r"no space left for the checkpoint of step 3 .*free some and run again"):
            run(world, tmp_path / "a", batches(world), often, steps=9)
    whole = [path.name for path in sorted((tmp_path / "a").iterdir())]
    assert whole[:2] == ["step-000000001", "step-000000002"] and "partial" not in whole
    resumed, _, _ = run(world, tmp_path / "a", batches(world), often, steps=9)
    straight, _, _ = run(world, tmp_path / "b", batches(world), settings(), steps=9)
    assert same(resumed, straight)


def test_a_full_disk_is_known_by_what_safetensors_says_of_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors raises an error of its own, with the system's number in its text; any other stays what it is."""
    model = load_model(world.model)
    state = TrainingState(model, make_optimizer(model, settings()), Average(), "data", step=1)

    def failing(text: str) -> Any:
        def save_file(*_: Any) -> None:
            raise SafetensorError(f"Error while serializing: I/O error: {text}")

        return save_file

    monkeypatch.setattr(checkpoint, "save_file", failing("No space left on device (os error 28)"))
    with pytest.raises(StageError, match=str(tmp_path)):
        state.save(tmp_path)
    monkeypatch.setattr(checkpoint, "save_file", failing("Input/output error (os error 5)"))
    with pytest.raises(SafetensorError, match="os error 5"):
        state.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def spiking(at: Sequence[int], by: float = 100.0) -> Any:
    """A loss that is so much higher at some steps, the gradient as ever."""
    calls: list[int] = []

    def loss(model: Llama, batch: Any) -> tuple[Tensor, dict[str, float]]:
        calls.append(1)
        value, extra = next_token_loss(model, batch)
        return value + (by * batch.weight if len(calls) in at else 0.0), extra

    return loss


def test_a_spike_is_logged_with_its_batch(world: World, tmp_path: Path) -> None:
    watchful = settings(spike_window=6)
    context = Recorder(tmp_path)
    data = batches(world, size=10)
    history, *_ = train(
        load_model(world.model),
        data,
        spiking([9, 12]),
        Schedule(1e-3, 14),
        watchful,
        scratch=tmp_path,
        context=context,
        title="test",
        first_step=100,
    )
    assert [row["step"] for row in history if row["spike"]] == [9, 12] and spikes.count_spikes(history) == 2
    assert [note.split(":")[1] for note in context.notes] == [" step 109", " step 112"]
    for note, step in zip(context.notes, (8, 11), strict=True):
        for number in range(step * 10, step * 10 + spikes.NAMED):
            bucket, window = data.mixture.locate(number)
            assert f"sample {number}: {bucket}, window {window} of {data.mixture.windows[bucket]}" in note
        assert note.endswith("and others")


def test_a_run_that_diverges_is_stopped_with_the_state_from_before(world: World, tmp_path: Path) -> None:
    watchful = settings(spike_window=6, spike_steps=3, checkpoint_seconds=1e-9)
    with pytest.raises(StageError, match=r"diverged: the last 3 steps up to 12 were spikes; lower the learning rate"):
        run(world, tmp_path, batches(world), watchful, steps=20, loss=spiking(range(10, 99)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000008", "step-000000009"]
    with pytest.raises(ValidationError, match="more than half of spike_window"):
        settings(spike_window=6, spike_steps=4)


def test_what_counts_as_a_spike() -> None:
    usual = [3.0, 3.1, 2.9, 3.2, 2.8, 3.0]  # median 3.0, absolute deviations 0, 0, 0.1, 0.1, 0.2, 0.2
    assert spikes.threshold(usual, 6) == pytest.approx(3.0 + 6 * 1.4826 * 0.1)
    rows = [{"loss": value} for value in usual]
    assert spikes.is_spike(3.9, rows, 6, 6) and not spikes.is_spike(3.88, rows, 6, 6)
    assert not spikes.is_spike(99.0, rows, 7, 6)  # too few steps yet
    assert not spikes.is_spike(99.0, rows, 0, 6)  # switched off
    assert spikes.is_spike(99.0, [{"loss": 50.0}, *rows], 7, 6)  # one spike does not hide the next
    assert not spikes.is_spike(3.0 + 1e-7, [{"loss": 3.0}] * 6, 6, 6)


def test_the_average_is_the_mean_of_the_weights_after_the_steps_asked_for(world: World, tmp_path: Path) -> None:
    seen = []

    def watching(model: Llama, batch: Any) -> tuple[Tensor, dict[str, float]]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})  # after step len(seen) - 1
        return next_token_loss(model, batch)

    model, _, average = run(world, tmp_path, batches(world), settings(), steps=6, loss=watching, average_at=[2, 3, 6])
    seen.append(dict(model.named_parameters()))
    assert average.count == 3
    for name, value in average.mean.items():
        assert torch.allclose(value, (seen[2][name] + seen[3][name] + seen[6][name]) / 3, atol=1e-6)


def test_what_is_told_and_written_is_the_history(world: World, tmp_path: Path) -> None:
    context = Recorder(tmp_path)
    history, *_ = train(
        load_model(world.model),
        batches(world),
        next_token_loss,
        Schedule(1e-3, 3),
        settings(),
        scratch=tmp_path,
        context=context,
        title="test",
        first_step=10,
    )
    assert [step for step, _ in context.points] == [11, 12, 13]
    assert [values["loss"] for _, values in context.points] == [row["loss"] for row in history]
    assert [row["tokens"] for row in history] == [192, 384, 576]
    write_curve(tmp_path / "curve.csv", history)
    header, *lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert header.split(",")[:3] == ["step", "tokens", "lr"] and "seconds" not in header and len(lines) == 3
    assert float(lines[2].split(",")[header.split(",").index("loss")]) == pytest.approx(history[2]["loss"], rel=1e-8)
    history = [{"loss": float(value), "margin": float(-value)} for value in range(100)]
    assert tail_mean(history) == 97
    assert tail_mean(history, "margin", steps=20) == -89.5 and tail_mean(history[:3], steps=20) == 1
