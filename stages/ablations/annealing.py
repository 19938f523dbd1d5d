"""Annealing with and without the up-sampled high-quality set (3.1.3): the gain of a small member and of the flagship.

Both variants anneal the member's long-context model on equally many tokens, one on the annealing mix, the other on the
default mix; the learning rate decays linearly to 0. The effect is the accuracy on the tasks of the up-sampled domains,
as GSM8k and MATH in the paper. A secondary effect is the accuracy on all tasks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from stages import statistics
from stages.ablations.effects import PERCENTAGE_POINTS, Values, difference, fixed, make_metrics, values_of
from stages.ablations.skills import Skills, accuracy_by_task
from stages.ablations.trial import Job, run_jobs, train_model
from stages.interface import Context, Metrics, Paths, Section
from stages.model.files import load_config, load_model
from stages.pretraining import annealing
from stages.pretraining.phase import load_member
from stages.tasks import HELPFUL_TASKS
from stages.training.loader import TokenShards
from stages.training.optimizer import load_optimizer_state
from stages.training.schedule import Schedule, count_steps


class AnnealingComparison(Section):
    """Repetitions and measurements."""

    seeds: int = Field(ge=2)
    """Runs per variant (assumption); a seed determines the order of the data."""
    skills: Skills
    domain_tasks: list[str] = Field(min_length=1)
    """Tasks of the up-sampled domains (paper 3.1.3: GSM8k and MATH)."""

    @field_validator("domain_tasks")
    @classmethod
    def _check_tasks(cls, tasks: list[str]) -> list[str]:
        if unknown := sorted(set(tasks) - set(HELPFUL_TASKS)):
            raise ValueError(f"no task is called {', '.join(unknown)}; there are {', '.join(HELPFUL_TASKS)}")
        return tasks


@dataclass(frozen=True)
class Config(annealing.Config):
    comparison: Annotated[AnnealingComparison, "ablations.annealing"]


@dataclass(frozen=True)
class AnnealingJob(Job):
    """One annealing run of a member; the variants are "with" and "without"."""

    config: Config
    steps: int
    model: Path
    tokens: Path
    tokenizer: Path


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer, herd, model (before annealing); for a larger member also `smaller`, the metrics of this stage
    for the smaller one: the effect is then the difference of the two gains."""
    member, options = context.item["member"], config.comparison
    shards = TokenShards(inputs["tokens"])
    tokens = load_member(inputs["herd"], member)["tokens"] * config.pretraining.annealing
    batches, _ = annealing.make_batches(config, shards, config.seed)
    steps = count_steps(tokens, batches.batch_tokens)
    paths = {name: inputs[name] for name in ("model", "tokens", "tokenizer")}
    job = AnnealingJob("", config.seed, context.scratch, config, steps, **paths)
    # Other seeds than in the previous phases, or annealing would start with the same windows.
    first_seed = config.seed + 200
    jobs = job.make_jobs(range(first_seed, first_seed + options.seeds), {"with": {}, "without": {}})
    runs = run_jobs(context, measure, jobs)
    quantity = f"with the up-sampled set minus without, {member}"
    domain = f"accuracy on {' and '.join(options.domain_tasks)}"
    gain = difference(f"{domain} {quantity}", "with", "without", "domain_accuracy", PERCENTAGE_POINTS)
    secondary = [
        difference(f"accuracy on all tasks {quantity}", "with", "without", "accuracy", PERCENTAGE_POINTS),
        difference(f"held-out loss of the default mix, {quantity}", "with", "without"),
    ]
    configuration = {
        "member": member,
        "parameters": load_config(inputs["model"]).parameters,
        "steps": steps,
        "comparison": options.model_dump(),
        "annealing_mix": config.annealing.mix.model_dump(),
        "tokens_sha256": shards.fingerprint,
    }
    if "smaller" not in inputs:
        return make_metrics(runs, gain, secondary, configuration)
    smaller = json.loads(inputs["smaller"].read_text())
    gains = f"gain of {smaller['configuration']['member']} minus gain of {member} from the up-sampled set, {domain}"
    difference_of_gains = welch_difference(accuracy_gains(smaller["runs"]), accuracy_gains(runs))
    effect = fixed(gains, PERCENTAGE_POINTS, difference_of_gains)
    return make_metrics(runs, effect, [gain, *secondary], configuration)


def accuracy_gains(runs: Sequence[Values]) -> np.ndarray:
    """Accuracy on the tasks of the up-sampled domains with the set minus without, [seeds]."""
    return values_of(runs, "with", "domain_accuracy") - values_of(runs, "without", "domain_accuracy")


def welch_difference(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean of the first minus mean of the second of independent runs, with Welch's interval."""
    errors = [values.var(ddof=1) / len(values) for values in (first, second)]
    value, error = float(first.mean() - second.mean()), float(sum(errors)) ** 0.5
    half = 0.0
    if error:
        parts = sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
        half = statistics.student_t_quantile(float(sum(errors) ** 2 / parts)) * error
    return {"value": value, "low": value - half, "high": value + half, "n": min(len(first), len(second))}


def measure(job: AnnealingJob) -> Values:
    """Anneals the member; its accuracy and its held-out loss."""
    config, shards = job.config, TokenShards(job.tokens)
    with_set, without_set = annealing.make_batches(config, shards, job.seed)
    batches = with_set if job.variant == "with" else without_set
    model = load_model(job.model)
    peak = config.learning_rate.at(model.config.parameters) * config.annealing.start
    schedule = Schedule(peak, job.steps, decay="linear")
    train_model(job, config.training, model, batches, schedule, optimizer_state=load_optimizer_state(job.model))
    by_task = accuracy_by_task(model, job.tokenizer, config.comparison.skills, config.seed)
    return {
        "loss": float(config.make_validation(shards).losses(model).mean()),
        "accuracy": fmean(by_task.values()),
        "domain_accuracy": fmean(by_task[task] for task in config.comparison.domain_tasks),
    }
