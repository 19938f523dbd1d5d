"""The IsoFLOP sweep (3.2.1): for each compute budget, models of several sizes, trained on what it leaves them."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.llama import Llama, LlamaConfig
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.ladder import Architecture, Ladder, LearningRate
from stages.scaling.questions import Questions, chance, questions, right_answers, surprise
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import train
from stages.training.null_context import NullContext
from stages.training.parameters import Training
from stages.training.schedule import Schedule

CURVE = 40
"""Points of a model's training curve that are kept."""


class Budget(Section):
    """One compute budget and the models trained for it."""

    flops: float = Field(gt=0)
    """Training FLOPs of every model of this budget (paper 3.2.1: 6e18 to 1e22)."""
    rungs: list[int] = Field(min_length=3)
    """Which shapes of the ladder, counted from 0."""
    batch: int = Field(gt=0)
    """Sequences per step, the same for the whole budget (paper 3.2.1: 250K to 4M tokens)."""


class Extra(Section):
    """A model beyond the budgets."""

    flops: float = Field(gt=0)
    """Its training FLOPs (assumption)."""
    rung: int = Field(ge=0)
    """Its shape on the ladder, counted from 0 (assumption)."""
    batch: int = Field(gt=0)
    """Sequences per step (assumption)."""


class Sweep(Section):
    """The sweep."""

    budgets: list[Budget] = Field(min_length=2)
    """Compute budgets, ascending."""
    extra: list[Extra]
    """Models that no parabola is put through: stronger ones, which show how accuracy goes with the likelihood of right
    answers (paper 3.2.1 takes the Llama 2 models for it)."""
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
    questions: Annotated[Questions, "scaling.questions"]


@dataclass(frozen=True)
class Point:
    """One model of the sweep; everything a worker process needs."""

    config: Config
    model: LlamaConfig
    budget: Budget | Extra
    tokens: Path
    tokenizer: Path
    scratch: Path

    @property
    def steps(self) -> int:
        tokens = tokens_for(self.budget.flops, self.model.parameters)
        return max(1, round(tokens / (self.budget.batch * self.config.sweep.length)))

    @property
    def schedule(self) -> Schedule:
        """Warm-up and cosine; AdamW's decoupled decay follows it: training.weight_decay times the rate of the step."""
        sweep, peak = self.config.sweep, self.config.learning_rate.at(self.model.parameters)
        return Schedule(peak, self.steps, max(1, round(sweep.warmup_share * self.steps)), "cosine", sweep.floor)

    @property
    def key(self) -> str:
        """A hash of all that decides the result besides the code: a point of another sweep may be the same one."""
        config = self.config
        decides = {
            "seed": config.seed,
            "mix": config.mix.shares(),
            "training": config.training.model_dump(exclude={"checkpoint_seconds"}),
            "model": self.model.to_json(),
            "schedule": asdict(self.schedule),
            "sweep": config.sweep.model_dump(exclude={"budgets", "extra"}),
            "flops": self.budget.flops,
            "batch": self.budget.batch,
            "questions": config.questions.model_dump(),
            "tokens": TokenShards(self.tokens).fingerprint,
            "tokenizer": hashlib.sha256((self.tokenizer / "tokenizer.json").read_bytes()).hexdigest(),
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer -> sweep (points.json: one row per model of the budgets; extra.json: of the others).

    Points that a sweep with other budgets has trained already are taken from the cache; the others are trained.
    """
    points = sweep_points(config, inputs, context.scratch)
    kept = [context.cache / f"{point.key}.json" for point in points]
    # The longest first, so that no worker is left alone with it at the end.
    missing = sorted(
        (index for index, path in enumerate(kept) if not path.exists()),
        key=lambda index: -points[index].steps * points[index].budget.batch,
    )
    if len(missing) < len(points):
        context.note(f"{len(points) - len(missing)} of {len(points)} models were trained before")
    context.map("points", partial(_train_and_keep, context.cache), [points[index] for index in missing], kind="process")
    done = [json.loads(path.read_text()) for path in kept]
    rows = [result["row"] for result in done]
    for number, (row, result) in enumerate(zip(rows, done, strict=True)):
        name = f"{number:02d}: {row['flops']:.1e} FLOPs, {row['parameters']:,} parameters"
        settings = {key: row[key] for key in ("flops", "parameters", "tokens", "batch", "learning_rate", "steps")}
        values = {key: row[key] for key in ("loss", "loss_error", "answer_nats", "answer_accuracy")}
        context.log_child_run(name, settings, values, result["curve"])
    inside = sum(len(budget.rungs) for budget in config.sweep.budgets)
    for file, part in (("points", rows[:inside]), ("extra", rows[inside:])):
        (outputs["sweep"] / f"{file}.json").write_text(json.dumps(part, indent=1, sort_keys=True) + "\n")
    columns = ("flops", "parameters", "tokens", "loss", "answer_nats", "answer_accuracy")
    context.table("sweep", [{key: row[key] for key in columns} for row in rows])
    return {"points": rows[:inside], "extra": rows[inside:]}


def sweep_points(config: Config, inputs: Paths, scratch: Path) -> list[Point]:
    """Every model of every budget, then the extra ones; each works in a directory of its own under `scratch`."""
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    wanted: list[tuple[str, Budget | Extra, int]] = []
    for number, each in enumerate(config.sweep.budgets):
        wanted += [(f"budgets.{number}.rungs", each, rung) for rung in each.rungs]
    wanted += [(f"extra.{number}.rung", extra, extra.rung) for number, extra in enumerate(config.sweep.extra)]
    points = []
    for name, budget, rung in wanted:
        if rung >= len(config.ladder):
            raise StageError(f"scaling.isoflops.{name}: {rung} is above the ladder's top")
        model = config.architecture.config(config.ladder[rung], vocab_size)
        place = scratch / f"{name}-{rung}"
        points.append(Point(config, model, budget, inputs["tokens"], inputs["tokenizer"], place))
    return points


def _train_and_keep(cache: Path, point: Point) -> None:
    """Trains a point and puts the result under its key: there whole or not at all."""
    result = train_point(point)
    draft = cache / f"{point.key}.{os.getpid()}"
    draft.write_text(json.dumps(result))
    draft.replace(cache / f"{point.key}.json")


def train_point(point: Point) -> dict[str, Any]:
    """Trains one model and measures it: {"row": its row of the sweep, "curve": (step, training loss), thinned}."""
    config, sweep = point.config, point.config.sweep
    shards = TokenShards(point.tokens)
    shares = config.mix.shares()
    mixture = Mixture(shards, "train", shares, sweep.length, config.seed)
    batches = MixtureBatches(mixture, point.budget.batch, config.training.micro_tokens)
    model = Llama(point.model).init_weights(config.seed)
    schedule = point.schedule
    history, *_ = train(
        model,
        batches,
        next_token_loss,
        schedule,
        config.training,
        scratch=point.scratch,
        context=NullContext(point.scratch),
        title="point",
    )
    validation = validation_mixture(shards, shares, sweep.length, config.seed)
    (losses,) = held_out_losses(model, [validation], sweep.validation_windows, config.training)
    test = questions(config.questions, point.tokenizer, config.seed)
    nats, right = right_answers(surprise(model, test, config.training))
    tokens = point.steps * point.budget.batch * sweep.length
    row = {
        "flops": point.budget.flops,
        "flops_spent": training_flops(point.model.parameters, tokens),
        "parameters": point.model.parameters,
        "hidden_size": point.model.hidden_size,
        "batch": point.budget.batch,
        "learning_rate": schedule.peak,
        "tokens": tokens,
        "steps": point.steps,
        "loss": float(losses.mean()),
        "loss_error": float(losses.std(ddof=1) / np.sqrt(len(losses))),
        "answer_nats": float(nats.mean()),
        "answer_accuracy": float(right.mean()),
        "chance": chance(test),
        "questions": len(test),
    }
    thin = np.unique(np.linspace(0, len(history) - 1, CURVE).round().astype(int))
    return {"row": row, "curve": [(int(history[at]["step"]), history[at]["loss"]) for at in thin]}
