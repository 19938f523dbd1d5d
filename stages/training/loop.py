"""The training loop: pretraining, annealing, reward model, SFT and DPO differ in loss, batches and schedule only.

Killed at any step and run again, it ends with the same bytes: step k's batch is a function of k, the state on disk is
whole, and nothing draws from a global generator.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from stages.interface import Context, Section, StageError
from stages.training import spikes
from stages.training.checkpoint import Average, Checkpoints, TrainingState, checkpoints_in, newest_kind
from stages.training.compiled import compiled
from stages.training.optimizer import AdamW, Moments
from stages.training.sample import Sample
from stages.training.schedule import Schedule


class Training(Section):
    """How every model is trained, whatever it learns."""

    inert = frozenset({"checkpoint_seconds", "keep_checkpoints"})

    beta1: float = Field(gt=0, lt=1)
    """AdamW's decay of the first moment (assumption; the paper gives none, Llama 2 used 0.9)."""
    beta2: float = Field(gt=0, lt=1)
    """AdamW's decay of the second moment (assumption; Llama 2 used 0.95)."""
    eps: float = Field(gt=0)
    """AdamW's epsilon (assumption; Llama 2 used 1e-5, torch's default is 1e-8)."""
    weight_decay: float = Field(ge=0)
    """Decay of weight matrices at each step, times the learning rate of that step (paper 3.2.1: 0.1 x LR)."""
    clip: float = Field(gt=0)
    """Largest norm of the gradient; larger ones are scaled down to it (assumption; Llama 2 used 1.0)."""
    precision: Literal["bf16", "fp32"]
    """Type of matrix products: bf16 by autocast, weights and moments always float32 (paper 3.3.2: BF16 training)."""
    compile: bool
    """Layers and loss of pretraining, whose batches have few shapes, through torch.compile: faster once it has
    compiled, which takes half a minute or so for each, and of other rounding; one process only (assumption)."""
    micro_tokens: int = Field(gt=0)
    """Tokens a device computes at once; a larger batch is cut into micro-batches of about this size (assumption; fits
    the memory)."""
    checkpoint_seconds: float = Field(gt=0)
    """Seconds between checkpoints of the training state: how much a kill loses, never the result (assumption)."""
    keep_checkpoints: int = Field(ge=1)
    """Checkpoints of a run that are kept; with one there is none to fall back on when it is damaged (assumption)."""
    spike_window: int = Field(ge=0)
    """Steps before the present one whose median loss tells what is usual; 0: no step is called a spike (assumption)."""
    spike_deviations: float = Field(gt=0)
    """Robust standard deviations above that median at which a loss is a spike: it is logged with the batch's samples
    (assumption; paper 3.4.1: few spikes, none of which needed an intervention)."""
    spike_steps: int = Field(ge=0)
    """Spikes in a row that stop the run as diverged, the checkpoint from before them kept; 0: never (assumption)."""

    @model_validator(mode="after")
    def _median_lags_behind(self) -> "Training":
        if 2 * self.spike_steps > self.spike_window:
            raise ValueError(
                f"spike_steps {self.spike_steps} is more than half of spike_window {self.spike_window}: "
                "the median would have followed the spikes by then"
            )
        return self


class Batch(Protocol):
    """What a loss function understands; the loop itself needs its size only."""

    @property
    def weight(self) -> float:
        """What the loss is divided by, summed over the micro-batches of a step: targets, or pairs."""
        ...

    @property
    def tokens(self) -> Tensor: ...


class Batches(Protocol):
    """Step k's batch, as micro-batches whose gradients are added up."""

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, step: int) -> Sequence[Any]: ...

    def of_rank(self, rank: int, world: int, pieces: int = 1) -> "Batches":
        """What one of `world` data-parallel ranks takes of each step, where a device holds but one of so many pieces of
        each sequence: as many micro-batches as every other rank has."""
        ...

    def samples(self, step: int) -> Iterator[Sample]:
        """What the step trains on, for people: in the order of the batch."""
        ...


Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
"""(model, micro-batch) -> the loss summed over the micro-batch, and other sums worth a curve."""

Measure = Callable[[Any, Any], Tensor]
"""(model, batch) -> a number for each of the batch's rows, [rows]."""

History = list[dict[str, float]]
"""A row per step: step (from 1), tokens (so far), lr, spike (1 or 0), loss, grad_norm, and the loss function's other
means."""


class Trained(NamedTuple):
    """What a training leaves besides the model."""

    history: History
    average: Average
    moments: Moments
    """The optimizer's state, where it was asked for."""


@dataclass(frozen=True)
class Run:
    """One call of `train`, so that each of its steps can be looked at afterwards.

    A stage that trains has a function `runs(config, inputs, item, metrics)` beside `run`: its trainings, in the order
    of their curves and from the same batches. `metrics` are those it left when it ran, None before it has.
    """

    title: str
    batches: Batches
    steps: int
    counts: str
    """What counts in the loss, in words."""


def optimizer_for(model: nn.Module, training: Training) -> AdamW:
    """AdamW as the parameters say."""
    return AdamW(model, training.beta1, training.beta2, training.eps, training.weight_decay)


class Saving(Protocol):
    """Writes checkpoints."""

    def save(self, state: TrainingState) -> None: ...

    def check(self) -> None:
        """Raises what went wrong with a write that has ended; never waits."""
        ...


class Alone:
    """One process. What the loop asks of its ranks; stages/distributed/ranks.py answers for a process group."""

    whole = torch.device("cpu")
    """Where to make a model that is to be trained."""
    data_parallel = 1
    """How many of them take rows of their own."""

    def own(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that training may change while `weights` stay."""
        return {name: tensor.clone() for name, tensor in weights.items()}

    def shard(self, model: nn.Module, training: Training) -> nn.Module:
        """What this rank holds of the model."""
        return model

    def begin(self, optimizer: AdamW, moments: Moments) -> None:
        """Gives the optimizer its part of the state of another."""
        optimizer.load(moments)

    def gather(self, state: TrainingState, model: nn.Module, scratch: Path, moments: bool) -> Moments:
        """Leaves the trained weights in the whole model; the optimizer's state where it is asked for."""
        return state.optimizer.state() if moments else {}

    def deal(self, batches: Batches) -> Batches:
        """This rank's rows of each step."""
        return batches

    def mine(self, batches: Sequence[Any]) -> Sequence[Any]:
        """What this rank computes of its rows."""
        return batches

    def tokens(self, batches: Sequence[Any]) -> int:
        """Tokens of a step, over all ranks."""
        return sum(batch.tokens.numel() for batch in batches)

    def total(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks."""
        return dict(amounts)

    def agree(self, wish: bool) -> bool:
        """The same answer on all ranks."""
        return wish

    def backward(
        self, model: nn.Module, batches: Sequence[Any], loss: Loss, weight: float, training: Training
    ) -> dict[str, float]:
        return backward(model, batches, loss, weight, training)

    def measure(self, model: nn.Module, batches: Iterable[Any], each: Measure, training: Training) -> Tensor:
        """`each` of a whole model's batches, one after the other, [rows] on every rank; nothing is kept for a gradient.

        A batch had best have as many rows for each rank that takes its own.
        """
        model.eval()
        with torch.inference_mode(), precision(training):
            return torch.cat([each(model, batch) for batch in batches])

    def clip(self, model: nn.Module, most: float) -> Tensor:
        """Scales the gradients to a norm of at most `most`; returns what it was, over all ranks."""
        return nn.utils.clip_grad_norm_(model.parameters(), most)

    def resume(self, state: TrainingState, scratch: Path, note: Callable[[str], None] = lambda text: None) -> bool:
        """Goes on from the newest checkpoint in `scratch`, also from one that a process group left."""
        if newest_kind(scratch) == "sharded":
            from stages.distributed import sharded_checkpoint as sharded

            if sharded.resume(state, scratch, note):
                return True
        return state.resume(scratch, note)

    def add(self, average: Average, model: nn.Module, scratch: Path) -> None:
        """Adds a whole model to an average of such."""
        average.add(model)

    def checkpoints(self, scratch: Path, training: Training) -> AbstractContextManager[Saving]:
        """What writes checkpoints while it is entered."""
        return Checkpoints(scratch, training.keep_checkpoints)


ALONE = Alone()


def ranks_of(context: Context) -> Alone:
    """Those this process is one of: who started the run knows how many there are."""
    ranks: Alone = getattr(context, "ranks", ALONE)
    return ranks


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    schedule: Schedule,
    training: Training,
    *,
    scratch: Path,
    context: Context,
    title: str,
    average_at: Collection[int] = (),
    first_step: int = 0,
    until: int | None = None,
    moments: Moments | None = None,
    keep_moments: bool = False,
) -> Trained:
    """Trains `model` in place for schedule.steps steps, going on from `scratch` where a killed run left off.

    Also keeps the mean of the weights after the steps `average_at` (counted from 1). `first_step` is where this run
    starts on the curves it draws, `until` a step to end after before the schedule does. A training that goes on from
    another one's model takes its `moments` too, which that one was told to keep. Raises StageError at a loss that is
    not finite, at `spike_steps` spikes in a row, and where the disk is full; the last good checkpoint stays.
    """
    ranks = ranks_of(context)
    whole, model = model, ranks.shard(model, training)
    state = TrainingState(model, optimizer_for(model, training), Average(), batches.fingerprint)
    if moments is not None:
        ranks.begin(state.optimizer, moments)
    steps = schedule.steps if until is None else min(until, schedule.steps)
    if ranks.resume(state, scratch, context.note):
        context.note(f"{title}: goes on at step {state.step} of {steps}")
    model.train()
    mine = ranks.deal(batches)
    compile_it = training.compile and getattr(batches, "few_shapes", False)  # each takes its time to compile
    seen = state.history[-1]["tokens"] if state.history else 0
    saved = time.monotonic()
    with ranks.checkpoints(scratch, training) as checkpoints, compiled(model, compile_it):
        while state.step < steps:
            started = time.monotonic()
            lr = schedule(state.step)
            row = step(model, mine(state.step), loss, state.optimizer, lr, training, ranks)
            if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
                raise StageError(
                    f"{title}: step {first_step + state.step + 1}: loss {row['loss']}, gradient norm "
                    f"{row['grad_norm']}; look at the batch: {spikes.names(batches, state.step)}; or lower the "
                    f"learning rate ({lr:g}), with which it begins anew; {last_good(scratch)}"
                )
            before = seen
            seen += row.pop("batch_tokens")
            spike = spikes.is_spike(row["loss"], state.history, training.spike_window, training.spike_deviations)
            state.step += 1
            state.history.append({"step": state.step, "tokens": seen, "lr": lr, "spike": float(spike)} | row)
            if state.step in average_at:
                state.average.add(model)
            now = time.monotonic()
            speed = (seen - before) / (now - started)
            context.scalars(first_step + state.step, row | {"lr": lr, "tokens_per_second": speed})
            context.progress(title, state.step, steps)
            if spike:
                tell_spike(state, batches, training, scratch, context, title, first_step)
            checkpoints.check()
            # None while the loss is off: the last one is from before it went.
            if ranks.agree(not spike and now - saved > training.checkpoint_seconds):
                checkpoints.save(state)
                saved = time.monotonic()
    left = ranks.gather(state, whole, scratch, keep_moments)
    return Trained(state.history, state.average, left)


def tell_spike(
    state: TrainingState,
    batches: Batches,
    training: Training,
    scratch: Path,
    context: Context,
    title: str,
    first_step: int,
) -> None:
    """Logs the spike that the last step was, with its batch; StageError where it ends a row of `spike_steps`."""
    *before, row = state.history
    usual = spikes.threshold([each["loss"] for each in before[-training.spike_window :]], training.spike_deviations)
    context.note(
        f"{title}: step {first_step + state.step}: loss {row['loss']:.4g} is a spike (above {usual:.4g}), gradient "
        f"norm {row['grad_norm']:.4g}, on {spikes.names(batches, state.step - 1)}"
    )
    last = state.history[-training.spike_steps :] if training.spike_steps else []
    if last and len(last) == training.spike_steps and all(each["spike"] for each in last):
        raise StageError(
            f"{title}: diverged: the last {training.spike_steps} steps up to {first_step + state.step} were spikes; "
            f"lower the learning rate ({row['lr']:g}), with which it begins anew; {last_good(scratch)}"
        )


def last_good(scratch: Path) -> str:
    """Where the last checkpoint before a run that went wrong lies, for people."""
    newest = max(checkpoints_in(scratch), key=lambda path: path.name[-9:], default=None)
    return "no checkpoint had been written" if newest is None else f"the last good state is {newest}"


def step(
    model: nn.Module,
    micro_batches: Sequence[Any],
    loss: Loss,
    optimizer: AdamW,
    lr: float,
    training: Training,
    ranks: Alone = ALONE,
) -> dict[str, float]:
    """One update by a rank's micro-batches. The loss is a mean over the whole batch, however it is cut and dealt."""
    mine = ranks.mine(micro_batches)
    weight = ranks.total({"weight": sum(batch.weight for batch in mine)})["weight"]
    if not weight:
        raise StageError("a step has no target: nothing in its batch counts in the loss")
    sums = ranks.total(ranks.backward(model, mine, loss, weight, training))
    totals = {name: amount / weight for name, amount in sums.items()}
    norm = ranks.clip(model, training.clip)
    if math.isfinite(totals["loss"]) and torch.isfinite(norm):
        optimizer.step(lr)
    optimizer.zero_grad()
    return totals | {"grad_norm": norm.item(), "batch_tokens": ranks.tokens(micro_batches)}


def backward(
    model: nn.Module, micro_batches: Sequence[Any], loss: Loss, weight: float, training: Training
) -> dict[str, float]:
    """Adds the gradient of the loss over `weight` to the parameters'; returns the sums over the micro-batches."""
    sums: dict[str, float] = {"loss": 0.0}
    for batch in micro_batches:
        with precision(training):
            value, extra = loss(model, batch)
        (value / weight).backward()
        for name, amount in {"loss": value.item(), **extra}.items():
            sums[name] = sums.get(name, 0.0) + amount
    return sums


def precision(training: Training) -> torch.autocast:
    """The context in which losses are computed."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=training.precision == "bf16")
