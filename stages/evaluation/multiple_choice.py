"""Multiple choice on held-out prompts of every task: measures what the scaling laws predicted (3.2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from stages import statistics
from stages.interface import Context, Metrics, Paths
from stages.model.files import load_model
from stages.scaling.questions import Question, Questions, answer_nll, make_questions, score_answers
from stages.tasks import HELPFUL_TASKS
from stages.training.parameters import Training


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    questions: Annotated[Questions, "scaling.questions"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Any number of base models -> metrics by model: nats per character of the right answer, accuracy."""
    metrics: Metrics = {}
    for done, (name, directory) in enumerate(inputs.items(), start=1):
        test = make_questions(config.questions, directory, config.seed)
        nats, right = score_answers(answer_nll(load_model(directory), test, config.training))
        metrics[name] = summarise(test, nats, right)
        context.progress("models", done, len(inputs))
    records = [
        {"model": name, "nats": found["nats"]["value"], "accuracy": found["accuracy"]["value"]}
        for name, found in metrics.items()
    ]
    context.table("multiple choice", records)
    return metrics


def summarise(test: Sequence[Question], nats: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Nats and accuracy with intervals over questions, and by task."""
    in_task = {task: np.array([question.task == task for question in test]) for task in HELPFUL_TASKS}
    return {
        "nats": statistics.mean(nats),
        "accuracy": statistics.wilson(float(right.sum()), len(right)),
        "tasks": {
            task: {
                "nats": float(nats[mask].mean()),
                "accuracy": statistics.wilson(float(right[mask].sum()), int(mask.sum())),
            }
            for task, mask in in_task.items()
        },
    }
