"""Annealing with and without the up-sampled high-quality set (3.1.3): what it gives a small member, and the flagship.

Both anneal the member as it was before: the same tokens, learning rate linearly to 0; one on the annealing mix of
select documents, the other on the default mix. They are measured by the accuracy on all tasks; beside it stands that on
the tasks that the set is about, as GSM8k and MATH are in the paper.
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
from stages.ablations.skills import Skills, accuracies
from stages.ablations.trial import NATS, Values, compare, entry, fan_out, findings, follow, of
from stages.interface import Context, Metrics, Paths, Section
from stages.model.files import load_config, load_model
from stages.pretraining import annealing
from stages.pretraining.phase import Validation, load_member
from stages.tasks import HELPFUL_TASKS
from stages.training.language_modelling import MixtureBatches
from stages.training.loader import Mixture, Split, TokenShards
from stages.training.optimizer import load_optimizer_state
from stages.training.schedule import Schedule

POINTS = "percentage points"


class AnnealingComparison(Section):
    """How often it is repeated and how it is measured."""

    seeds: int = Field(ge=2)
    """Runs with and without (assumption); a seed decides the order of the data."""
    skills: Skills
    domain_tasks: list[str] = Field(min_length=1)
    """Tasks of the domains that are up-sampled, whose accuracy is also told apart (paper 3.1.3: GSM8k and MATH)."""

    @field_validator("domain_tasks")
    @classmethod
    def _exist(cls, tasks: list[str]) -> list[str]:
        if unknown := sorted(set(tasks) - set(HELPFUL_TASKS)):
            raise ValueError(f"no task is called {', '.join(unknown)}; there are {', '.join(HELPFUL_TASKS)}")
        return tasks


@dataclass(frozen=True)
class Config(annealing.Config):
    comparison: Annotated[AnnealingComparison, "ablations.annealing"]


@dataclass(frozen=True)
class Annealed:
    """One annealing of a member."""

    config: Config
    variant: str
    seed: int
    scratch: Path
    model: Path
    tokens: Path
    tokenizer: Path
    steps: int

    def batches(self) -> MixtureBatches:
        """Of the annealing mix, or of the default mix without the select documents."""
        config = self.config
        split: Split = "anneal" if self.variant == "with" else "train"
        mix = config.annealing.mix if self.variant == "with" else config.mix
        shared = config.pretraining
        mixture = Mixture(TokenShards(self.tokens), split, mix.shares(), shared.length, self.seed)
        return MixtureBatches(mixture, max(1, shared.batch_tokens // shared.length), config.training.micro_tokens)


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer, herd, model (before annealing); for a larger member also `smaller`: what this stage found for
    the smaller one, whose effect is then set against this one's."""
    member, options, shared = context.item["member"], config.comparison, config.pretraining
    tokens = load_member(inputs["herd"], member)["tokens"] * shared.annealing
    steps = max(1, round(tokens / (max(1, shared.batch_tokens // shared.length) * shared.length)))
    jobs = [
        Annealed(
            config,
            variant,
            seed,
            context.scratch / f"{variant}-{seed}",
            inputs["model"],
            inputs["tokens"],
            inputs["tokenizer"],
            steps,
        )
        # Seeds of their own: the windows of the phases before must not come first again.
        for seed in range(config.seed + 200, config.seed + 200 + options.seeds)
        for variant in ("with", "without")
    ]
    rows = fan_out(context, measure, jobs)
    gain = gains(rows)
    what = f"with the up-sampled set minus without, {member}"
    own = entry(f"accuracy {what}", POINTS, statistics.mean_over_seeds(gain))
    domain = entry(
        f"accuracy on {' and '.join(options.domain_tasks)} {what}",
        POINTS,
        compare(rows, "with", "without", "domain_accuracy"),
    )
    loss = entry(f"held-out loss of the default mix, {what}", NATS, compare(rows, "with", "without"))
    made = {
        "member": member,
        "parameters": load_config(inputs["model"]).parameters,
        "steps": steps,
        "comparison": options.model_dump(),
        "annealing_mix": config.annealing.mix.model_dump(),
        "tokens_sha256": TokenShards(inputs["tokens"]).fingerprint,
    }
    if "smaller" not in inputs:
        return findings(own, [domain, loss], rows, made)
    smaller = json.loads(inputs["smaller"].read_text())
    before = gains(smaller["runs"])
    both = f"gain of {smaller['configuration']['member']} minus gain of {member} from the up-sampled set"
    return findings(entry(f"{both}, accuracy", POINTS, unpaired(before, gain)), [own, domain, loss], rows, made)


def gains(rows: Sequence[Values]) -> np.ndarray:
    """What the set adds to the accuracy, by seed."""
    return of(rows, "with", "accuracy") - of(rows, "without", "accuracy")


def unpaired(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean of the first minus mean of the second of independent runs, with Welch's interval."""
    errors = [values.var(ddof=1) / len(values) for values in (first, second)]
    value, error = float(first.mean() - second.mean()), float(sum(errors)) ** 0.5
    half = 0.0
    if error:
        parts = sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
        half = statistics.student_t_quantile(float(sum(errors) ** 2 / parts)) * error
    return {"value": value, "low": value - half, "high": value + half, "n": min(len(first), len(second))}


def measure(job: Annealed) -> Values:
    """Anneals the member; its accuracy and its held-out loss."""
    config = job.config
    model = load_model(job.model)
    peak = config.learning_rate.at(model.config.parameters) * config.annealing.start
    schedule = Schedule(peak, job.steps, decay="linear")
    follow(job, config.training, model, job.batches(), schedule, optimizer_state=load_optimizer_state(job.model))
    shards = TokenShards(job.tokens)
    held_out = Validation(shards, config.mix.shares(), config.pretraining, config.training, config.seed)
    by_task = accuracies(model, job.tokenizer, config.comparison.skills, config.seed)
    domain = fmean(by_task[task] for task in config.comparison.domain_tasks)
    return {
        "loss": float(held_out.losses(model).mean()),
        "accuracy": fmean(by_task.values()),
        "domain_accuracy": domain,
    }
