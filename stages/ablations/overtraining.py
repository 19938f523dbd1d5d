"""Over-training (1, 3.4): smaller members are trained past their optimum. The gain at equal parameters, and the cost at
equal training FLOPs.

Three models are compared: one of the trial's shape on its optimal tokens by the fitted law, the same on a multiple of
them, and the rung of the ladder that is optimal for the FLOPs of the second. The first two have equal inference cost.
"""

import json
import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stages.ablations.effects import PERCENTAGE_POINTS, Values, difference, make_metrics
from stages.ablations.skills import Skills, SkillTrial, measure_skills
from stages.ablations.trial import MixTrialConfig, TrialSettings
from stages.interface import Context, Metrics, Paths, Section
from stages.model.llama import LlamaConfig
from stages.scaling.fit import optimal_tokens
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.ladder import Ladder


class Overtraining(Section):
    """The over-trained model."""

    trials: TrialSettings
    """Their tokens are not used: the law determines the number."""
    factor: float = Field(gt=1)
    """Tokens over the compute-optimal tokens (paper 3.4: all members are trained on 15T, past the optimum of 8B and
    70B)."""
    skills: Skills


@dataclass(frozen=True)
class Config(MixTrialConfig):
    ladder: Annotated[Ladder, "ladder"]
    overtraining: Annotated[Overtraining, "ablations.overtraining"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens, tokenizer, herd (the fit)."""
    options, shares = config.overtraining, config.mix.shares()
    test = {"skills": options.skills, "tokenizer": inputs["tokenizer"]}
    trial = SkillTrial.create(config, options.trials, inputs["tokens"], shares, context, **test)
    fit = json.loads(inputs["herd"].read_text())["fit"]
    small = trial.shape
    optimum = optimal_tokens(small.parameters, fit)
    flops = training_flops(small.parameters, options.factor * optimum)
    rungs = [config.architecture.config(rung, small.vocab_size) for rung in config.ladder]
    larger = find_optimal_shape(rungs, flops, fit)
    models = {
        "optimal": (small, optimum),
        "over-trained": (small, options.factor * optimum),
        "larger": (larger, tokens_for(flops, larger.parameters)),
    }
    variants = {name: {"shape": shape, "num_tokens": tokens} for name, (shape, tokens) in models.items()}
    runs = trial.run_variants(context, measure_skills, variants)
    same_flops = "larger minus over-trained, equal training FLOPs"
    cost = f"(the larger costs {larger.parameters / small.parameters:.2g} times as much at inference)"
    gain = "accuracy of over-trained minus optimal, equal parameters"
    secondary = [
        difference(gain, "over-trained", "optimal", "accuracy", PERCENTAGE_POINTS),
        difference(f"loss of {same_flops} {cost}", "larger", "over-trained"),
        difference(f"accuracy of {same_flops}", "larger", "over-trained", "accuracy", PERCENTAGE_POINTS),
    ]
    configuration = {
        "trials": options.trials.model_dump(exclude={"tokens"}),
        "factor": options.factor,
        "skills": options.skills.model_dump(),
        "runs": {name: {"parameters": shape.parameters, "tokens": tokens} for name, (shape, tokens) in models.items()},
        "alpha": fit["alpha"]["value"],
        "tokens_sha256": trial.shards.fingerprint,
    }
    effect = difference("loss of optimal minus over-trained, equal parameters", "optimal", "over-trained")
    return make_metrics(runs, effect, secondary, configuration)


def find_optimal_shape(rungs: list[LlamaConfig], flops: float, fit: dict[str, Values]) -> LlamaConfig:
    """The rung whose compute-optimal FLOPs are nearest to `flops`."""
    return min(
        rungs, key=lambda r: abs(math.log(training_flops(r.parameters, optimal_tokens(r.parameters, fit)) / flops))
    )
