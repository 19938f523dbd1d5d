"""Accuracy on held-out prompts of every task (5.1); keeps all samples, so that models can be compared in pairs."""

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
    """Any number of models -> answers (answers.parquet: a row per model and prompt); metrics by model."""
    examples = held_out.test_examples(config.evaluation, config.seed)
    samples: list[dict[str, Any]] = []
    metrics: Metrics = {}
    for done, (name, directory) in enumerate(inputs.items(), start=1):
        responses = Responder.load(directory).respond(examples, config.sampling, seed=config.seed)
        texts = [text for (text,) in responses]
        is_correct = verify(examples, texts)
        metrics[name] = accuracies(examples, is_correct)
        samples += [
            {
                "model": name,
                "task": example.task,
                "level": example.level,
                "cluster": example.cluster,
                "prompt": example.prompt,
                "target": example.answer,
                "response": text,
                "is_correct": correct,
            }
            for example, text, correct in zip(examples, texts, is_correct, strict=True)
        ]
        context.progress("models", done, len(inputs))
    pq.write_table(pa.Table.from_pylist(samples), outputs["answers"] / "answers.parquet", compression="zstd")
    records = [
        {"model": name, "accuracy": found["all"]["value"]}
        | {task: accuracy["value"] for task, accuracy in found["tasks"].items()}
        for name, found in metrics.items()
    ]
    context.table("accuracy", records)
    return metrics


def accuracies(examples: Sequence[Example], is_correct: Sequence[bool]) -> dict[str, Any]:
    """Accuracy over all prompts, by task, and by level of each task, each with its interval over problems."""

    def accuracy(tasks: Sequence[str], levels: Sequence[str] = ("easy", "hard")) -> dict[str, float]:
        chosen = [(e, ok) for e, ok in zip(examples, is_correct, strict=True) if e.task in tasks and e.level in levels]
        return statistics.clustered_proportion([ok for _, ok in chosen], [(e.task, e.cluster) for e, _ in chosen])

    return {
        "all": accuracy(HELPFUL_TASKS),
        "tasks": {task: accuracy([task]) for task in HELPFUL_TASKS},
        "levels": {
            f"{task} {level}": accuracy([task], [level]) for task in HELPFUL_TASKS for level in ("easy", "hard")
        },
    }
