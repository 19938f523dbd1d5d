"""The data mix by scaling experiments (3.1.2): small models on candidate mixes predict the best mix of a larger model.

Each mix is trained at several sizes. A power law in FLOPs per mix extrapolates the losses of the small models to the
largest. The predicted ranking is compared with the measured one by Spearman's correlation, seed by seed. The loss is
measured on held-out documents of all buckets in equal shares, so that no mix is evaluated on itself.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.ablations.effects import NATS, make_metrics, over_seeds
from stages.ablations.skills import Skills, SkillTrial, measure_skills
from stages.ablations.trial import TrialConfig, TrialSettings, run_jobs
from stages.interface import Context, Metrics, Paths, Section
from stages.scaling.flops import training_flops
from stages.scaling.ladder import Shape
from stages.tokenizer.corpus import BUCKETS, Mix
from stages.training.loader import TokenShards

EQUAL_SHARES: dict[str, float] = {bucket: 1 / len(BUCKETS) for bucket in BUCKETS}


class Size(Section):
    """One model size."""

    shape: Shape
    tokens: float = Field(gt=0)
    """Training tokens (assumption)."""


class Mixes(Section):
    """The candidate mixes and the sizes."""

    trials: TrialSettings
    """Their shape and tokens are not used."""
    sizes: list[Size] = Field(min_length=3)
    """In ascending order: the last is the larger model, which the others predict."""
    candidates: dict[str, Mix] = Field(min_length=3)
    """Mixes by name (assumption; the paper only gives the chosen one: 50/25/17/8)."""
    skills: Skills
    """The task test of the larger models."""


@dataclass(frozen=True)
class Config(TrialConfig):
    mixes: Annotated[Mixes, "ablations.mixes"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer."""
    options, seeds = config.mixes, config.seeds(config.mixes.trials)
    shards = TokenShards(inputs["tokens"])
    shapes = [config.architecture.config(size.shape, shards.vocab_size) for size in options.sizes]
    flops = np.array(
        [training_flops(shape.parameters, size.tokens) for shape, size in zip(shapes, options.sizes, strict=True)]
    )
    fields = {"tokenizer": inputs["tokenizer"], "validation_shares": EQUAL_SHARES}
    trial = SkillTrial.create(config, options.trials, inputs["tokens"], EQUAL_SHARES, context, **fields)
    last = len(shapes) - 1
    jobs = []
    for number in reversed(range(len(shapes))):  # the largest first, so that the workers finish together
        size = {
            "shape": shapes[number],
            "num_tokens": options.sizes[number].tokens,
            "skills": options.skills if number == last else None,
        }
        variants = {f"{name} {number}": {"shares": mix.shares(), **size} for name, mix in options.candidates.items()}
        jobs += trial.make_jobs(seeds, variants)
    runs = run_jobs(context, measure_skills, jobs)
    names = list(options.candidates)
    run_of = {(run["variant"], run["seed"]): run for run in runs}
    losses = np.array(
        [[[run_of[f"{name} {n}", seed]["loss"] for n in range(len(shapes))] for name in names] for seed in seeds]
    )  # [seeds, mixes, sizes]
    predicted, reached = extrapolate(losses[..., :-1], flops), losses[..., -1]
    chosen = int(predicted.mean(0).argmin())
    others = [number for number in range(len(names)) if number != chosen]
    secondary = [
        over_seeds(
            "rank correlation of the mixes, largest of the small models and larger one",
            "Spearman's rho",
            spearman(losses[..., -2], reached),
        ),
        over_seeds(
            f"reached loss of the larger model on the chosen mix, {names[chosen]}, minus mean of the others",
            NATS,
            reached[:, chosen] - reached[:, others].mean(1),
        ),
        over_seeds("predicted minus reached loss, mean of all mixes", NATS, (predicted - reached).mean(1)),
    ]
    for number, name in enumerate(names):
        accuracy = np.array([run_of[f"{name} {last}", seed]["accuracy"] for seed in seeds])
        secondary += [
            over_seeds(f"{name}: predicted loss of the larger model", NATS, predicted[:, number]),
            over_seeds(f"{name}: its reached loss", NATS, reached[:, number]),
            over_seeds(f"{name}: its accuracy on all tasks", "%", accuracy),
        ]
    configuration = {
        "trials": options.trials.model_dump(exclude={"tokens", "shape"}),
        "mixes": options.model_dump(exclude={"trials"}),
        "parameters": [shape.parameters for shape in shapes],
        "flops": flops.tolist(),
        "chosen": names[chosen],
        "tokens_sha256": shards.fingerprint,
    }
    effect = over_seeds(
        f"rank correlation of {len(names)} mixes, predicted from small models and reached by a larger one",
        "Spearman's rho",
        spearman(predicted, reached),
    )
    return make_metrics(runs, effect, secondary, configuration)


def extrapolate(losses: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Loss at the last size [seeds, mixes], by a power law in FLOPs [sizes] from losses [seeds, mixes, sizes - 1]."""
    seeds, mixes, sizes = losses.shape
    slope, start = np.polyfit(np.log(flops[:-1]), np.log(losses).reshape(-1, sizes).T, 1)
    return np.exp(start + slope * np.log(flops[-1])).reshape(seeds, mixes)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation of two arrays [seeds, mixes] without ties, [seeds]."""
    ranks = [values.argsort(1).argsort(1).astype(float) for values in (first, second)]
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)])
