"""Accuracy on held-out prompts of every task (5.1), with what was answered, so that models can be compared in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages import statistics
from stages.interface import Context, Metrics, Paths
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import HELPFUL_TASKS, held_out, verify
from stages.tasks.example import Example


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    evaluation: Annotated[held_out.Evaluation, "evaluation.tasks"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Any number of models -> answers (answers.parquet: a row per model and prompt); metrics by the models' names."""
    examples = held_out.test_examples(config.evaluation, config.seed)
    rows: list[dict[str, Any]] = []
    metrics: Metrics = {}
    for done, (name, directory) in enumerate(inputs.items(), start=1):
        answers = [given[0] for given in Responder.load(directory).respond(examples, config.sampling, seed=config.seed)]
        right = verify(examples, answers)
        metrics[name] = accuracies(examples, right)
        rows += [
            {
                "model": name,
                "task": e.task,
                "level": e.level,
                "prompt": e.prompt,
                "reference": e.answer,
                "response": answer,
                "right": correct,
            }
            for e, answer, correct in zip(examples, answers, right, strict=True)
        ]
        context.progress("models", done, len(inputs))
    pq.write_table(pa.Table.from_pylist(rows), outputs["answers"] / "answers.parquet", compression="zstd")
    context.table(
        "accuracy",
        [
            {
                "model": name,
                "accuracy": value["all"]["value"],
                **{task: value["tasks"][task]["value"] for task in HELPFUL_TASKS},
            }
            for name, value in metrics.items()
        ],
    )
    return metrics


def accuracies(examples: Sequence[Example], right: Sequence[bool]) -> dict[str, Any]:
    """Accuracy over all prompts, by task, and by level of each task, each with its interval."""

    def rate(chosen: list[bool]) -> dict[str, float]:
        return statistics.proportion(sum(chosen), len(chosen))

    pairs = list(zip(examples, right, strict=True))
    return {
        "all": rate([r for _, r in pairs]),
        "tasks": {task: rate([r for e, r in pairs if e.task == task]) for task in HELPFUL_TASKS},
        "levels": {
            f"{task} {level}": rate([r for e, r in pairs if (e.task, e.level) == (task, level)])
            for task in HELPFUL_TASKS
            for level in ("easy", "hard")
        },
    }
