"""Rounds of post-training (4.1.6): each round against the one before, the first against the base model.

All rounds have the same gold demonstrations; a round adds its own samples and preferences on new prompts.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from stages.ablations.effects import PERCENTAGE_POINTS, Values, make_metrics, over_seeds, values_of
from stages.ablations.posttraining import PosttrainingTrials, TuningConfig, TuningJob
from stages.ablations.trial import run_jobs
from stages.interface import Context, Metrics, Paths
from stages.posttraining import dpo, preferences, prompts, rejection, reward, sft
from stages.posttraining.pruning import Pruning


@dataclass(frozen=True)
class Config(TuningConfig):
    rounds: Annotated[int, "posttraining.rounds"]
    prompts: Annotated[prompts.Prompts, "posttraining.prompts"]
    preferences: Annotated[preferences.PreferenceSampling, "posttraining.preferences"]
    reward: Annotated[reward.Reward, "posttraining.reward"]
    rejection: Annotated[rejection.Rejection, "posttraining.rejection"]
    pruning: Annotated[Pruning, "posttraining.pruning"]
    dpo: Annotated[dpo.DPO, "posttraining.dpo"]
    trials: Annotated[PosttrainingTrials, "ablations.rounds"]


@dataclass(frozen=True)
class RoundsJob(TuningJob):
    config: Config


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """base. The effect is the gain of the round that gains least."""
    job = RoundsJob("rounds", config.seed, context.scratch, config, dict(inputs))
    jobs = job.make_jobs(range(config.seed, config.seed + config.trials.seeds), {"rounds": {}})
    runs = run_jobs(context, measure, jobs)
    models = ["base", *(f"dpo-{number}" for number in range(1, config.rounds + 1))]
    names = ["base", *(f"round {number}" for number in range(1, config.rounds + 1))]
    gains = [values_of(runs, "rounds", after) - values_of(runs, "rounds", before) for before, after in pairwise(models)]
    effects = [
        over_seeds(f"accuracy of {after} minus {before}, equal gold demonstrations", PERCENTAGE_POINTS, gain)
        for (before, after), gain in zip(pairwise(names), gains, strict=True)
    ]
    least = min(range(config.rounds), key=lambda number: float(gains[number].mean()))
    configuration = {
        "seeds": config.trials.seeds,
        "rounds": config.rounds,
        "prompts": config.prompts.model_dump(),
        "sft": config.sft.model_dump(),
        "dpo": config.dpo.model_dump(),
    }
    return make_metrics(runs, effects[least], effects[:least] + effects[least + 1 :], configuration)


def measure(job: RoundsJob) -> Values:
    """Accuracy of the base model and after SFT and DPO of each round."""
    base = policy = job.inputs["base"]
    data = job.run_stage(prompts, "prompts", {}, ["prompts"])
    earlier = data["prompts"]
    models = {"base": base}
    for number in range(1, job.config.rounds + 1):
        item, name = {"round": str(number)}, f"round-{number}"
        inputs = {**data, "base": base, "policy": policy, "earlier": earlier}
        inputs |= job.run_stage(preferences, f"{name}/compared", inputs, ["preferences"], **item)
        made = job.run_stage(reward, f"{name}/reward", inputs, ["model", "curve"], **item)
        inputs |= {"reward": made["model"]}
        inputs |= job.run_stage(rejection, f"{name}/sampled", inputs, ["demonstrations"], **item)
        models[f"sft-{number}"] = job.run_stage(sft, f"{name}/sft", inputs, ["model"], **item)["model"]
        inputs |= {"policy": models[f"sft-{number}"]}
        policy = job.run_stage(dpo, f"{name}/dpo", inputs, ["model", "curve"], **item)["model"]
        models[f"dpo-{number}"], earlier = policy, inputs["preferences"]
    return job.evaluate(models)
