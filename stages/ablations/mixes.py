"""The data mix by scaling experiments (3.1.2): small models on candidate mixes say which a larger one needs.

Each mix is trained at several sizes. The small ones' losses are extrapolated, a power law in FLOPs for each mix, to the
largest; the ranking so predicted is held against the ranking reached, by Spearman's correlation, seed by seed. The loss
is that on held-out documents of all buckets in equal shares, so that no mix is measured on itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages import statistics
from stages.ablations.skills import Skills, accuracy
from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, Values, entry, fan_out, findings
from stages.interface import Context, Metrics, Paths, Section
from stages.scaling.flops import training_flops
from stages.scaling.ladder import Shape
from stages.tokenizer.corpus import BUCKETS, Mix
from stages.training.loader import TokenShards

EQUAL: dict[str, float] = {bucket: 1 / len(BUCKETS) for bucket in BUCKETS}


class Size(Section):
    """One size of the experiment."""

    shape: Shape
    tokens: float = Field(gt=0)
    """Training tokens (assumption)."""


class Mixes(Section):
    """The candidate mixes and the sizes."""

    trials: Trials
    """Their shape and tokens do not count here."""
    sizes: list[Size] = Field(min_length=3)
    """In ascending order: the last is the larger model, the others predict it."""
    candidates: dict[str, Mix] = Field(min_length=3)
    """Mixes by name (assumption; the paper gives the chosen one only: 50/25/17/8)."""
    skills: Skills
    """What the largest models are asked."""


@dataclass(frozen=True)
class Config(TrialConfig):
    mixes: Annotated[Mixes, "ablations.mixes"]


@dataclass(frozen=True)
class MixTrial(Trial):
    """A model of one size on one mix."""

    skills: Skills | None = None
    """None: the model is asked nothing."""
    tokenizer: Path | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer."""
    options = config.mixes
    trials = options.trials
    shards = TokenShards(inputs["tokens"])
    shapes = [config.architecture.config(size.shape, shards.vocab_size) for size in options.sizes]
    flops = np.array(
        [training_flops(shape.parameters, size.tokens) for shape, size in zip(shapes, options.sizes, strict=True)]
    )
    jobs = [
        MixTrial(
            config,
            trials,
            f"{name} {number}",
            seed,
            context.scratch / f"{name}-{number}-{seed}",
            inputs["tokens"],
            mix.shares(),
            shapes[number],
            options.sizes[number].tokens,
            skills=options.skills if number == len(shapes) - 1 else None,
            tokenizer=inputs["tokenizer"],
        )
        for number in reversed(range(len(shapes)))  # the largest first, so that no worker is left with one
        for seed in config.seeds(trials)
        for name, mix in options.candidates.items()
    ]
    rows = fan_out(context, measure, jobs)
    names = list(options.candidates)
    by = {(row["variant"], row["seed"]): row for row in rows}
    losses = np.array(
        [
            [[by[f"{name} {number}", seed]["loss"] for number in range(len(shapes))] for name in names]
            for seed in config.seeds(trials)
        ]
    )  # [seeds, mixes, sizes]
    predicted, reached = extrapolate(losses[..., :-1], flops), losses[..., -1]
    chosen = int(predicted.mean(0).argmin())
    others = [number for number in range(len(names)) if number != chosen]
    last = len(shapes) - 1
    also = [
        entry(
            "rank correlation of the mixes, largest of the small models and larger one",
            "Spearman's rho",
            statistics.mean_over_seeds(spearman(losses[..., -2], reached)),
        ),
        entry(
            f"reached loss of the larger model on the chosen mix, {names[chosen]}, minus mean of the others",
            NATS,
            statistics.mean_over_seeds(reached[:, chosen] - reached[:, others].mean(1)),
        ),
        entry(
            "predicted minus reached loss, mean of all mixes",
            NATS,
            statistics.mean_over_seeds((predicted - reached).mean(1)),
        ),
    ]
    for number, name in enumerate(names):
        right = np.array([by[f"{name} {last}", seed]["accuracy"] for seed in config.seeds(trials)])
        also += [
            entry(
                f"{name}: predicted loss of the larger model", NATS, statistics.mean_over_seeds(predicted[:, number])
            ),
            entry(f"{name}: its reached loss", NATS, statistics.mean_over_seeds(reached[:, number])),
            entry(f"{name}: its accuracy on all tasks", "%", statistics.mean_over_seeds(right)),
        ]
    made = {
        "trials": trials.model_dump(exclude={"tokens", "shape"}),
        "mixes": options.model_dump(exclude={"trials"}),
        "parameters": [shape.parameters for shape in shapes],
        "flops": flops.tolist(),
        "chosen": names[chosen],
        "tokens_sha256": shards.fingerprint,
    }
    effect = entry(
        f"rank correlation of {len(names)} mixes, predicted from small models and reached by a larger one",
        "Spearman's rho",
        statistics.mean_over_seeds(spearman(predicted, reached)),
    )
    return findings(effect, also, rows, made)


def extrapolate(losses: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Losses [seeds, mixes, sizes - 1] of the small models to that of the last size, by log loss over log FLOPs."""
    seeds, mixes, sizes = losses.shape
    slope, start = np.polyfit(np.log(flops[:-1]), np.log(losses).reshape(-1, sizes).T, 1)
    return np.exp(start + slope * np.log(flops[-1])).reshape(seeds, mixes)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation over the mixes of each seed, [seeds]; losses have no ties."""
    ranks = [values.argsort(1).argsort(1).astype(float) for values in (first, second)]
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)])


def measure(trial: MixTrial) -> Values:
    """Trains the model; its loss over all buckets alike, and its accuracy if it is asked."""
    model, _ = trial.train()
    values = {"loss": trial.loss(model, EQUAL)}
    if trial.skills is not None and trial.tokenizer is not None:
        values["accuracy"] = accuracy(model, trial.tokenizer, trial.skills, trial.config.seed)
    return values
