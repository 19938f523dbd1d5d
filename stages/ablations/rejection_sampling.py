"""SFT on the samples that the reward model selects, without a verifier, against random ones and the verifier's (4.2.2).

The policy answers each prompt several times. All variants finetune the policy on equally many of its own samples and on
nothing else: the best by reward and a random one of the same prompts, and a right one of the prompts that have one.
"""

import random
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from stages.ablations.effects import PERCENTAGE_POINTS, Values, difference, make_metrics
from stages.ablations.posttraining import PosttrainingTrials, TuningConfig, TuningJob
from stages.ablations.trial import run_jobs
from stages.interface import Context, Metrics, Paths, StageError
from stages.posttraining import rejection, reward
from stages.posttraining.data import read_records
from stages.posttraining.respond import Responder, flatten
from stages.posttraining.reward import load_reward_model, score_responses
from stages.tasks import verify
from stages.tasks.example import Example

VARIANTS = ("reward", "random", "verifier")


@dataclass(frozen=True)
class Config(TuningConfig):
    reward: Annotated[reward.Reward, "posttraining.reward"]
    rejection: Annotated[rejection.Rejection, "posttraining.rejection"]
    trials: Annotated[PosttrainingTrials, "ablations.rejection_sampling"]


@dataclass(frozen=True)
class RejectionJob(TuningJob):
    config: Config
    number: int
    """The round whose prompts are answered."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, base, policy, preferences (those that the reward model is trained on)."""
    number = int(context.item["round"])
    job = RejectionJob("", config.seed, context.scratch, config, dict(inputs), number)
    jobs = job.make_jobs(range(config.seed, config.seed + config.trials.seeds), {"all": {}})
    measured = run_jobs(context, measure, jobs)
    runs = [
        {"variant": variant, "seed": each["seed"], "accuracy": each[variant], "rows": each["rows"]}
        for each in measured
        for variant in (*VARIANTS, "policy")
    ]
    quantities = {
        ("reward", "random"): "SFT on the best of K by reward minus SFT on random answers, equal rows",
        ("verifier", "reward"): "SFT on the verifier's pick minus SFT on the best of K by reward, equal rows",
        ("verifier", "random"): "SFT on the verifier's pick minus SFT on random answers, equal rows",
        ("reward", "policy"): "SFT on the best of K by reward minus the policy before it",
    }
    effect, *secondary = [
        difference(f"accuracy of {text}", first, second, "accuracy", PERCENTAGE_POINTS)
        for (first, second), text in quantities.items()
    ]
    configuration = {
        "seeds": config.trials.seeds,
        "round": number,
        "reward": config.reward.model_dump(),
        "answers": config.rejection.answers,
        "sft": config.sft.model_dump(),
    }
    return make_metrics(runs, effect, secondary, configuration)


def measure(job: RejectionJob) -> Values:
    """Accuracy after SFT on the samples of each variant, and of the policy; the number of samples."""
    inputs, config = job.inputs, job.config
    reward_model = job.run_stage(reward, "reward", inputs, ["model", "curve"])["model"]
    examples = read_records(inputs["prompts"] / f"sampled-{job.number}.jsonl", Example)
    responses = Responder.load(inputs["policy"]).respond(
        examples,
        config.sampling,
        temperature=config.rejection.temperature,
        num_return_sequences=config.rejection.answers,
        seed=job.seed + 3000,
    )
    items = flatten(examples, responses)
    shape = len(examples), config.rejection.answers
    rewards = np.reshape(score_responses(*load_reward_model(reward_model), *items, config.training), shape)
    is_right = np.reshape(verify(*items), shape)
    picks = select_rows(rewards, is_right, random.Random(f"{job.seed}-rejection"))
    models = {"policy": inputs["policy"]}
    for variant, chosen in picks.items():
        dialogs = [(examples[index].prompt, responses[index][answer]) for index, answer in chosen]
        models[variant] = job.finetune(variant, inputs["policy"], dialogs)
    return job.evaluate(models) | {"rows": len(picks["verifier"])}


def select_rows(
    rewards: np.ndarray, is_right: np.ndarray, generator: random.Random
) -> dict[str, list[tuple[int, int]]]:
    """Variant -> (prompt, response) indices, equally many in each; StageError if no response is right."""
    solved = np.flatnonzero(is_right.any(1)).tolist()
    if not solved:
        raise StageError(
            "no sampled response is right: the variants would have no rows; raise sampled prompts or answers"
        )
    prompts = sorted(generator.sample(range(len(rewards)), len(solved)))
    return {
        "reward": [(index, int(rewards[index].argmax())) for index in prompts],
        "random": [(index, generator.randrange(rewards.shape[1])) for index in prompts],
        "verifier": [(index, generator.choice(np.flatnonzero(is_right[index]).tolist())) for index in solved],
    }
