"""The IsoFLOP sweep (3.2.1): for each compute budget, models of several sizes, trained on what it leaves them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.interface import A, B, Context, Kind, Metrics, Paths, Row, Section, StageError
from stages.model.llama import Llama, LlamaConfig
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.ladder import Architecture, Ladder, LearningRate
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import MixtureBatches, held_out, held_out_losses, next_token_loss
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import Training, train
from stages.training.schedule import Schedule


class Budget(Section):
    """One compute budget and the models trained for it."""

    flops: float = Field(gt=0)
    """Training FLOPs of every model of this budget (paper 3.2.1: 6e18 to 1e22)."""
    rungs: list[int] = Field(min_length=3)
    """Which shapes of the ladder, counted from 0."""
    batch: int = Field(gt=0)
    """Sequences per step, the same for the whole budget (paper 3.2.1: 250K to 4M tokens)."""


class Sweep(Section):
    """The sweep."""

    budgets: list[Budget] = Field(min_length=2)
    """Compute budgets, ascending."""
    length: int = Field(ge=16)
    """Tokens per sequence."""
    warmup_share: float = Field(gt=0, lt=1)
    """Share of the steps in which the learning rate rises (assumption; paper 3.2.1: 2,000 steps)."""
    floor: float = Field(ge=0, le=1)
    """Where the cosine ends, as a share of the peak (paper 3.2.1: 0.1)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows the loss is measured on (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    mix: Annotated[Mix, "mix"]
    training: Annotated[Training, "training"]
    architecture: Annotated[Architecture, "architecture"]
    ladder: Annotated[Ladder, "ladder"]
    learning_rate: Annotated[LearningRate, "learning_rate"]
    sweep: Annotated[Sweep, "scaling.isoflops"]


@dataclass(frozen=True)
class Point:
    """One model of the sweep; everything a worker process needs."""

    config: Config
    model: LlamaConfig
    budget: Budget
    tokens: Path
    scratch: Path

    @property
    def steps(self) -> int:
        tokens = tokens_for(self.budget.flops, self.model.parameters)
        return max(1, round(tokens / (self.budget.batch * self.config.sweep.length)))


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens -> sweep (points.json: one row per model)."""
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    points = []
    for number, budget in enumerate(config.sweep.budgets):
        for rung in budget.rungs:
            if rung >= len(config.ladder):
                raise StageError(f"scaling.isoflops.budgets.{number}.rungs: {rung} is above the ladder's top")
            model = config.architecture.config(config.ladder[rung], vocab_size)
            scratch = context.scratch / f"{number}-{rung}"
            points.append(Point(config, model, budget, inputs["tokens"], scratch))
    # The longest first, so that no worker is left alone with it at the end.
    order = sorted(range(len(points)), key=lambda index: -points[index].steps * points[index].budget.batch)
    done = context.map("points", train_point, [points[index] for index in order], kind="process")
    rows = [row for _, row in sorted(zip(order, done, strict=True))]
    (outputs["sweep"] / "points.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    context.table("sweep", [{key: row[key] for key in ("flops", "parameters", "tokens", "loss")} for row in rows])
    return {"points": rows}


def train_point(point: Point) -> dict[str, Any]:
    """Trains one model and measures its held-out loss; what is done is kept beside its training state."""
    result = point.scratch / "result.json"
    if result.exists():
        done: dict[str, Any] = json.loads(result.read_text())
        return done
    config, sweep = point.config, point.config.sweep
    shards = TokenShards(point.tokens)
    shares = config.mix.shares()
    mixture = Mixture(shards, "train", shares, sweep.length, config.seed)
    batches = MixtureBatches(mixture, point.budget.batch, config.training.micro_tokens)
    model = Llama(point.model).initialise(config.seed)
    schedule = Schedule(
        config.learning_rate.at(point.model.parameters),
        point.steps,
        max(1, round(sweep.warmup_share * point.steps)),
        "cosine",
        sweep.floor,
    )
    silent = Silent(point.scratch)
    train(model, batches, next_token_loss, schedule, config.training,
          scratch=point.scratch, context=silent, title="point")  # fmt: skip
    validation = held_out(shards, shares, sweep.length, config.seed)
    losses = held_out_losses(model, validation, sweep.validation_windows, config.training)
    tokens = point.steps * point.budget.batch * sweep.length
    row = {
        "flops": point.budget.flops,
        "flops_spent": training_flops(point.model.parameters, tokens),
        "parameters": point.model.parameters,
        "hidden_size": point.model.hidden_size,
        "tokens": tokens,
        "steps": point.steps,
        "loss": float(losses.mean()),
        "loss_error": float(losses.std(ddof=1) / np.sqrt(len(losses))),
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    partial = result.with_suffix(".partial")  # a result is there whole or not at all
    partial.write_text(json.dumps(row))
    partial.replace(result)
    return row


class Silent:
    """The context of a point: nobody watches a worker's every step; the sweep's bar counts the points."""

    def __init__(self, scratch: Path) -> None:
        self.item: Mapping[str, str] = {}
        self.scratch = scratch

    def progress(self, name: str, done: float, total: float) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: Sequence[Row]) -> None: ...
    def note(self, text: str) -> None: ...
    def map(self, name: str, function: Callable[[A], B], items: Iterable[A], kind: Kind = "thread") -> list[B]:
        raise NotImplementedError("a point of the sweep does not fan out")
