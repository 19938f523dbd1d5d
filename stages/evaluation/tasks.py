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

NUM_SWAPS = 3
"""Responses to other problems that each prompt is scored with for its chance level."""


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
        metrics[name] = accuracies(examples, is_correct) | {"chance": chance_levels(examples, texts)}
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


def accuracies(
    examples: Sequence[Example], is_correct: Sequence[bool], names: Sequence[str] = HELPFUL_TASKS
) -> dict[str, Any]:
    """Accuracy over all prompts, by task, and by level of each task, each with its interval over problems."""

    def accuracy(tasks: Sequence[str], levels: Sequence[str] = ("easy", "hard")) -> dict[str, float]:
        chosen = [(e, ok) for e, ok in zip(examples, is_correct, strict=True) if e.task in tasks and e.level in levels]
        return statistics.clustered_proportion([ok for _, ok in chosen], [(e.task, e.cluster) for e, _ in chosen])

    return {
        "all": accuracy(names),
        "tasks": {task: accuracy([task]) for task in names},
        "levels": {f"{task} {level}": accuracy([task], [level]) for task in names for level in ("easy", "hard")},
    }


def chance_levels(examples: Sequence[Example], texts: Sequence[str]) -> dict[str, Any]:
    """Accuracy of the model's responses to other problems of the same task and level: what the form alone earns.

    Each prompt gets the responses to `NUM_SWAPS` others, at even distances in the list of its task and level.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault((example.task, example.level), []).append(index)
    swaps: list[tuple[int, int]] = []
    for members in groups.values():
        steps = [len(members) * number // (NUM_SWAPS + 1) for number in range(1, NUM_SWAPS + 1)]
        pairs = [(one, members[(place + step) % len(members)]) for place, one in enumerate(members) for step in steps]
        swaps += [(one, other) for one, other in pairs if examples[one].cluster != examples[other].cluster]
    is_correct = verify([examples[one] for one, _ in swaps], [texts[other] for _, other in swaps])
    hits: dict[tuple[str, str], list[bool]] = {}
    for (one, _), correct in zip(swaps, is_correct, strict=True):
        hits.setdefault((examples[one].task, examples[one].level), []).append(correct)
    shares = {group: sum(of_group) / len(of_group) for group, of_group in hits.items()}
    by_task = {task: [share for (name, _), share in shares.items() if name == task] for task, _ in shares}
    means = {task: sum(of_task) / len(of_task) for task, of_task in by_task.items()}
    return {
        "all": sum(means.values()) / max(1, len(means)),
        "tasks": means,
        "levels": {f"{task} {level}": share for (task, level), share in shares.items()},
    }
