"""The flagship's samples against a small member's own (1, 4): SFT of the small member on either, equal prompts.

Both are rejection sampling with the flagship's reward model and verifiers on the same prompts, with the same gold
demonstrations; only the model that answers differs.
"""

from dataclasses import dataclass
from typing import Annotated

from stages.ablations.effects import PERCENTAGE_POINTS, Values, difference, make_metrics
from stages.ablations.posttraining import PosttrainingTrials, TuningConfig, TuningJob
from stages.ablations.trial import run_jobs
from stages.interface import Context, Metrics, Paths
from stages.posttraining import rejection, sft
from stages.posttraining.data import Demonstration, read_records
from stages.posttraining.pruning import Pruning


@dataclass(frozen=True)
class Config(TuningConfig):
    rejection: Annotated[rejection.Rejection, "posttraining.rejection"]
    pruning: Annotated[Pruning, "posttraining.pruning"]
    trials: Annotated[PosttrainingTrials, "ablations.teaching"]


@dataclass(frozen=True)
class TeachingJob(TuningJob):
    """The variants are "flagship" and "own": who answers the prompts."""

    config: Config
    round: str


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, student (the small member before SFT), teacher (the flagship's policy), reward."""
    number = context.item["round"]
    job = TeachingJob("", config.seed, context.scratch, config, dict(inputs), number)
    jobs = job.make_jobs(range(config.seed, config.seed + config.trials.seeds), {"flagship": {}, "own": {}})
    runs = run_jobs(context, measure, jobs)
    quantity = "small after SFT on the flagship's samples minus on its own samples"
    effect = difference(f"accuracy of {quantity}", "flagship", "own", "accuracy", PERCENTAGE_POINTS)
    rows = difference(f"sampled rows of {quantity}", "flagship", "own", "sampled", "rows")
    configuration = {
        "seeds": config.trials.seeds,
        "round": number,
        "answers": config.rejection.answers,
        "pruning": config.pruning.model_dump(),
        "sft": config.sft.model_dump(),
    }
    return make_metrics(runs, effect, [rows], configuration)


def measure(job: TeachingJob) -> Values:
    """Accuracy of the student after SFT, and the number of sampled rows it was trained on."""
    policy = job.inputs["teacher" if job.variant == "flagship" else "student"]
    inputs = {name: job.inputs[name] for name in ("prompts", "reward")} | {"policy": policy}
    made = job.run_stage(rejection, "sampled", inputs, ["demonstrations"], round=job.round)
    student = job.run_stage(sft, "sft", {"policy": job.inputs["student"], **made}, ["model"])
    rows = read_records(made["demonstrations"] / "demonstrations.jsonl", Demonstration)
    sampled = sum(demonstration.source != "annotator" for demonstration in rows)
    return {"accuracy": job.evaluate(student)["model"], "sampled": sampled}
