"""The training loop: pretraining, annealing, reward model, SFT and DPO differ in loss, batches and schedule only.

A run that is killed at any step and started again ends with the same bytes: the batch of step k is a function of k,
checkpoints are written atomically, and nothing draws from a global random generator.
"""

import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from stages.interface import Context, StageError
from stages.training import spikes
from stages.training.batches import Batches, History, Loss
from stages.training.checkpoint import Average, TrainingState, newest_checkpoint
from stages.training.compiled import compiled
from stages.training.optimizer import AdamW, OptimizerState
from stages.training.parameters import Training, make_optimizer
from stages.training.schedule import Schedule
from stages.training.strategy import SINGLE_PROCESS, Strategy, TrainingContext


class TrainingResult(NamedTuple):
    """What a training returns besides the model."""

    history: History
    average: Average
    optimizer_state: OptimizerState
    """Empty unless it was asked for."""


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    schedule: Schedule,
    training: Training,
    *,
    scratch: Path,
    context: TrainingContext,
    title: str,
    average_at: Collection[int] = (),
    first_step: int = 0,
    max_steps: int | None = None,
    optimizer_state: OptimizerState | None = None,
    return_optimizer_state: bool = False,
) -> TrainingResult:
    """Trains `model` in place for schedule.steps steps, at most `max_steps`; resumes from a checkpoint in `scratch`.

    Also averages the weights after the steps `average_at` (counted from 1). `first_step` is the offset of this run's
    steps on logged curves. A training that continues another one passes that one's `optimizer_state`. Raises StageError
    at a loss that is not finite, at `spike_steps` consecutive spikes, and if the disk is full; the last good checkpoint
    is kept.
    """
    strategy = context.strategy
    full_model, model = model, strategy.shard_model(model, training)
    state = TrainingState(model, make_optimizer(model, training), Average(), batches.fingerprint)
    if optimizer_state is not None:
        strategy.load_optimizer_state(state.optimizer, optimizer_state)
    steps = schedule.steps if max_steps is None else min(max_steps, schedule.steps)
    if strategy.load_checkpoint(state, scratch, context.note):
        context.note(f"{title}: resumes at step {state.step} of {steps}")
    model.train()
    local = strategy.shard_batches(batches)
    use_compile = training.compile and batches.few_shapes  # each shape takes its time to compile
    tokens = state.history[-1]["tokens"] if state.history else 0
    last_save = time.monotonic()
    with strategy.checkpointer(scratch, training) as checkpointer, compiled(model, use_compile):
        while state.step < steps:
            started = time.monotonic()
            lr = schedule(state.step)
            record = step(model, local(state.step), loss, state.optimizer, lr, training, strategy)
            if not math.isfinite(record["loss"]) or not math.isfinite(record["grad_norm"]):
                raise StageError(
                    f"{title}: step {first_step + state.step + 1}: loss {record['loss']}, gradient norm "
                    f"{record['grad_norm']}; look at the batch: {spikes.sample_names(batches, state.step)}; or lower "
                    f"the learning rate ({lr:g}), which restarts the training; {last_good_checkpoint(scratch)}"
                )
            step_tokens = record.pop("batch_tokens")
            tokens += step_tokens
            spike = spikes.is_spike(record["loss"], state.history, training.spike_window, training.spike_deviations)
            state.step += 1
            state.history.append({"step": state.step, "tokens": tokens, "lr": lr, "spike": float(spike)} | record)
            if state.step in average_at:
                state.average.add(model)
            now = time.monotonic()
            speed = step_tokens / (now - started)
            context.scalars(first_step + state.step, record | {"lr": lr, "tokens_per_second": speed})
            context.progress(title, state.step, steps)
            if spike:
                log_spike(state, batches, training, scratch, context, title, first_step)
            checkpointer.check()
            # No checkpoint during a spike: the last one is from before it.
            if strategy.broadcast_flag(not spike and now - last_save > training.checkpoint_seconds):
                checkpointer.save(state)
                last_save = time.monotonic()
    final = strategy.gather_full_state(state, full_model, scratch, return_optimizer_state)
    return TrainingResult(state.history, state.average, final)


def log_spike(
    state: TrainingState,
    batches: Batches,
    training: Training,
    scratch: Path,
    context: Context,
    title: str,
    first_step: int,
) -> None:
    """Logs that the last step was a spike, with its batch; StageError if it is the last of `spike_steps` in a row."""
    *before, record = state.history
    limit = spikes.threshold([each["loss"] for each in before[-training.spike_window :]], training.spike_deviations)
    context.note(
        f"{title}: step {first_step + state.step}: loss {record['loss']:.4g} is a spike (above {limit:.4g}), gradient "
        f"norm {record['grad_norm']:.4g}, on {spikes.sample_names(batches, state.step - 1)}"
    )
    last = state.history[-training.spike_steps :] if training.spike_steps else []
    if last and len(last) == training.spike_steps and all(each["spike"] for each in last):
        raise StageError(
            f"{title}: diverged: the last {training.spike_steps} steps up to {first_step + state.step} were spikes; "
            f"lower the learning rate ({record['lr']:g}), which restarts the training; {last_good_checkpoint(scratch)}"
        )


def last_good_checkpoint(scratch: Path) -> str:
    """Where the last checkpoint before a failure is, for error messages."""
    newest = newest_checkpoint(scratch)
    return "no checkpoint had been written" if newest is None else f"the last good state is {newest}"


def step(
    model: nn.Module,
    micro_batches: Sequence[Any],
    loss: Loss,
    optimizer: AdamW,
    lr: float,
    training: Training,
    strategy: Strategy = SINGLE_PROCESS,
) -> dict[str, float]:
    """One update with a rank's micro-batches. The loss is a mean over the whole batch, however it is split."""
    local = strategy.local_batches(micro_batches)
    weight = strategy.all_reduce({"weight": sum(batch.weight for batch in local)})["weight"]
    if not weight:
        raise StageError("a step has no targets: no token of its batch counts in the loss")
    sums = strategy.all_reduce(strategy.backward(model, local, loss, weight, training))
    means = {name: amount / weight for name, amount in sums.items()}
    norm = strategy.clip_grad_norm(model, training.clip)
    if math.isfinite(means["loss"]) and torch.isfinite(norm):
        optimizer.step(lr)
    optimizer.zero_grad()
    return means | {"grad_norm": norm.item(), "batch_tokens": strategy.count_tokens(micro_batches)}
