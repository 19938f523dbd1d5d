"""The IsoFLOP sweep (3.2.1): per compute budget, models of several sizes, each on the tokens that the budget allows."""

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
from stages.scaling.questions import Questions, answer_nll, chance_accuracy, make_questions, score_answers
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import train
from stages.training.null_context import NullContext
from stages.training.parameters import Training
from stages.training.schedule import Schedule, count_steps

CURVE_POINTS = 40
"""Points of a model's training curve in its result."""


class Budget(Section):
    """One compute budget and its models."""

    flops: float = Field(gt=0)
    """Training FLOPs of every model of this budget (paper 3.2.1: 6e18 to 1e22)."""
    rungs: list[int] = Field(min_length=3)
    """Shapes of the ladder, counted from 0."""
    batch: int = Field(gt=0)
    """Sequences per step, the same for all models of the budget (paper 3.2.1: 250K to 4M tokens)."""


class ExtraModel(Section):
    """A model outside the budgets."""

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
    extra: list[ExtraModel]
    """Stronger models that are not in a parabola: they extend the fit of accuracy over likelihood (paper 3.2.1 uses the
    Llama 2 models)."""
    length: int = Field(ge=16)
    """Tokens per sequence."""
    warmup_share: float = Field(gt=0, lt=1)
    """Share of the steps in which the learning rate rises (assumption; paper 3.2.1: 2,000 steps)."""
    floor: float = Field(ge=0, le=1)
    """Final learning rate of the cosine decay, as a share of the peak (paper 3.2.1: 0.1)."""
    validation_windows: int = Field(gt=1)
    """Held-out windows that the loss is measured on (assumption)."""


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
class SweepPoint:
    """One model of the sweep; a worker process needs nothing else."""

    config: Config
    model: LlamaConfig
    budget: Budget | ExtraModel
    tokens: Path
    tokenizer: Path
    scratch: Path

    @property
    def steps(self) -> int:
        tokens = tokens_for(self.budget.flops, self.model.parameters)
        return count_steps(tokens, self.budget.batch * self.config.sweep.length)

    @property
    def schedule(self) -> Schedule:
        """Warm-up and cosine decay; AdamW's decay is training.weight_decay times the learning rate of the step."""
        sweep, peak = self.config.sweep, self.config.learning_rate.at(self.model.parameters)
        return Schedule(peak, self.steps, max(1, round(sweep.warmup_share * self.steps)), "cosine", sweep.floor)

    @property
    def cache_key(self) -> str:
        """Hash of all inputs of the result except the code; equal points of other sweeps have the same key."""
        config = self.config
        content = {
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
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer -> sweep (points.json: one record per model of the budgets; extra.json: of the others).

    Points that another sweep has trained are read from the cache.
    """
    points = sweep_points(config, inputs, context.scratch)
    cached = [context.cache / f"{point.cache_key}.json" for point in points]
    missing = [point for point, path in zip(points, cached, strict=True) if not path.exists()]
    if len(missing) < len(points):
        context.note(f"{len(points) - len(missing)} of {len(points)} models were trained before")
    missing.sort(key=lambda point: -point.steps * point.budget.batch)  # the longest first: workers finish together
    context.map("points", partial(_train_and_cache, context.cache), missing, kind="process")
    results = [json.loads(path.read_text()) for path in cached]
    records = [result["row"] for result in results]
    for number, (record, result) in enumerate(zip(records, results, strict=True)):
        name = f"{number:02d}: {record['flops']:.1e} FLOPs, {record['parameters']:,} parameters"
        settings = {key: record[key] for key in ("flops", "parameters", "tokens", "batch", "learning_rate", "steps")}
        values = {key: record[key] for key in ("loss", "loss_error", "answer_nats", "answer_accuracy")}
        context.log_child_run(name, settings, values, result["curve"])
    num_points = sum(len(budget.rungs) for budget in config.sweep.budgets)
    sweep = {"points": records[:num_points], "extra": records[num_points:]}
    for name, part in sweep.items():
        (outputs["sweep"] / f"{name}.json").write_text(json.dumps(part, indent=1, sort_keys=True) + "\n")
    columns = ("flops", "parameters", "tokens", "loss", "answer_nats", "answer_accuracy")
    context.table("sweep", [{key: record[key] for key in columns} for record in records])
    return sweep


def sweep_points(config: Config, inputs: Paths, scratch: Path) -> list[SweepPoint]:
    """All models of all budgets, then the extra ones; each has its own directory under `scratch`."""
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    models: list[tuple[str, Budget | ExtraModel, int]] = []
    for number, each in enumerate(config.sweep.budgets):
        models += [(f"budgets.{number}.rungs", each, rung) for rung in each.rungs]
    models += [(f"extra.{number}.rung", extra, extra.rung) for number, extra in enumerate(config.sweep.extra)]
    points = []
    for key, budget, rung in models:
        if rung >= len(config.ladder):
            raise StageError(f"scaling.isoflops.{key}: {rung} is above the last rung, {len(config.ladder) - 1}")
        shape = config.architecture.config(config.ladder[rung], vocab_size)
        directory = scratch / f"{key}-{rung}"
        points.append(SweepPoint(config, shape, budget, inputs["tokens"], inputs["tokenizer"], directory))
    return points


def _train_and_cache(cache: Path, point: SweepPoint) -> None:
    """Trains a point and writes the result to the cache atomically."""
    result = train_point(point)
    partial_file = cache / f"{point.cache_key}.{os.getpid()}"
    partial_file.write_text(json.dumps(result))
    partial_file.replace(cache / f"{point.cache_key}.json")


def train_point(point: SweepPoint) -> dict[str, Any]:
    """Trains and evaluates one model: {"row": its record of the sweep, "curve": (step, training loss), thinned}."""
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
    test = make_questions(config.questions, point.tokenizer, config.seed)
    nats, right = score_answers(answer_nll(model, test, config.training))
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
        "chance": chance_accuracy(test),
        "questions": len(test),
    }
    thin = np.unique(np.linspace(0, len(history) - 1, CURVE_POINTS).round().astype(int))
    return {"row": row, "curve": [(int(history[at]["step"]), history[at]["loss"]) for at in thin]}
