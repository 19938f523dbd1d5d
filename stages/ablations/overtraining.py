"""Smaller members are trained past their optimum (1, 3.4): the gain at equal parameters, the price at equal FLOPs.

Three models: one of the trials' shape on as many tokens as the fitted law gives it, the same on a multiple of them, and
the rung of the ladder that is optimal for the FLOPs of the second. The first two cost the same at inference.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stages.ablations.skills import Skills, accuracy
from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, Values, compare, entry, findings
from stages.interface import Context, Metrics, Paths, Section
from stages.model.llama import LlamaConfig
from stages.scaling.fit import optimal_tokens
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.ladder import Ladder
from stages.tokenizer.corpus import Mix


class Overtraining(Section):
    """The over-trained model."""

    trials: Trials
    """Their tokens do not count here: the law says how many."""
    factor: float = Field(gt=1)
    """Tokens over those that are compute-optimal (paper 3.4: all members saw 15T, which is past the optimum of 8B and
    70B)."""
    skills: Skills


@dataclass(frozen=True)
class Config(TrialConfig):
    mix: Annotated[Mix, "mix"]
    ladder: Annotated[Ladder, "ladder"]
    overtraining: Annotated[Overtraining, "ablations.overtraining"]


@dataclass(frozen=True)
class TestedTrial(Trial):
    """A trial whose model is also asked the tasks."""

    skills: Skills | None = None
    tokenizer: Path | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer, herd (the fit)."""
    options = config.overtraining
    trials = options.trials
    trial = TestedTrial.of(
        config,
        trials,
        inputs["tokens"],
        config.mix.shares(),
        context,
        skills=options.skills,
        tokenizer=inputs["tokenizer"],
    )
    fit = json.loads(inputs["herd"].read_text())["fit"]
    small = trial.shape
    best = optimal_tokens(small.parameters, fit)
    flops = training_flops(small.parameters, options.factor * best)
    rungs = [config.architecture.config(rung, small.vocab_size) for rung in config.ladder]
    larger = optimal_shape(rungs, flops, fit)
    runs = {
        "optimal": (small, best),
        "over-trained": (small, options.factor * best),
        "larger": (larger, tokens_for(flops, larger.parameters)),
    }
    variants = {name: {"shape": shape, "budget": tokens} for name, (shape, tokens) in runs.items()}
    rows = trial.runs(context, measure, variants)
    same, flat = "optimal minus over-trained, equal parameters", "larger minus over-trained, equal training FLOPs"
    ratio = larger.parameters / small.parameters
    also = [
        entry(
            "accuracy of over-trained minus optimal, equal parameters",
            "percentage points",
            compare(rows, "over-trained", "optimal", "accuracy"),
        ),
        entry(
            f"loss of {flat} (the larger costs {ratio:.2g} times as much at inference)",
            NATS,
            compare(rows, "larger", "over-trained"),
        ),
        entry(f"accuracy of {flat}", "percentage points", compare(rows, "larger", "over-trained", "accuracy")),
    ]
    made = {
        "trials": trials.model_dump(exclude={"tokens"}),
        "factor": options.factor,
        "skills": options.skills.model_dump(),
        "runs": {name: {"parameters": shape.parameters, "tokens": tokens} for name, (shape, tokens) in runs.items()},
        "alpha": fit["alpha"]["value"],
        "tokens_sha256": trial.shards.fingerprint,
    }
    return findings(entry(f"loss of {same}", NATS, compare(rows, "optimal", "over-trained")), also, rows, made)


def optimal_shape(rungs: list[LlamaConfig], flops: float, fit: dict[str, Values]) -> LlamaConfig:
    """The rung whose compute-optimal FLOPs are nearest to these."""
    return min(
        rungs, key=lambda r: abs(math.log(training_flops(r.parameters, optimal_tokens(r.parameters, fit)) / flops))
    )


def measure(trial: TestedTrial) -> Values:
    """Trains the model; its loss and its accuracy."""
    assert trial.skills is not None and trial.tokenizer is not None
    model, _ = trial.train()
    return {"loss": trial.loss(model), "accuracy": accuracy(model, trial.tokenizer, trial.skills, trial.config.seed)}
