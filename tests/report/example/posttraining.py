"""Accuracies and answers of post-training (4)."""

import random
from pathlib import Path
from typing import Any

from tests.report.example.values import Records, interval, rate, save_records

VERDICTS = {
    "post-01": "shown in this run",
    "post-02": "not shown at this scale",
    "post-03": "shown",
    "post-07": "exact",
    "post-15": "shown in this run",
}
TASKS = ("arithmetic", "code", "translation", "lookup", "facts", "format", "howto", "mails")


ACCURACY = {
    "last": {
        **{"flagship-base": 0.45, "flagship-chat": 0.65},
        **{"medium-base": 0.38, "medium-sft": 0.55, "medium-dpo": 0.57, "medium-chat": 0.56},
        **{"small-base": 0.25, "small-sft": 0.41, "small-own": 0.33, "small-dpo": 0.42, "small-chat": 0.41},
    },
    "round-1": {"sft-1": 0.55, "dpo-1": 0.58},
    "round-2": {"sft-2": 0.64, "dpo-2": 0.66},
}
"""Directory of the answers -> model -> its accuracy."""


def metrics(directory: Path) -> dict[str, Any]:
    """Accuracies; writes the answers to `directory`."""
    found: dict[str, Any] = {}
    for name, models in ACCURACY.items():
        answers = {model: answer_prompts(model, accuracy) for model, accuracy in models.items()}
        save_records(directory / name / "answers.parquet", [answer for model in answers.values() for answer in model])
        found["evaluation" if name == "last" else f"{name}/evaluation"] = {
            model: evaluate(answers[model]) for model in models
        }
    sampled = {
        "prompts": 200,
        "chosen": 160,
        "kept": 140,
        "demonstrations": 2800,
        "gold": 1200,
        "selection": selection(),
        "removed": {"low reward": 14, "semantic duplicate": 6},
        "tone_before": {"emoji": 0.02, "exclamation": 0.07, "apology": 0.04},
        "tone_after": {"emoji": 0.0, "exclamation": 0.0, "apology": 0.01},
    }
    for number in (1, 2):
        found[f"round-{number}/rejection"] = sampled
        found[f"round-{number}/preferences"] = {"preferences": 600, "edited": 240, "by_strength": {"4": 500, "3": 100}}
        found[f"round-{number}/reward"] = {
            "pairs": 900,
            "accuracy": rate(0.75, 120),
            "accuracy_by_task": {task: rate(0.7, 15) for task in TASKS},
        }
    return found | {"small/own_samples": sampled}


def answer_prompts(model: str, accuracy: float) -> Records:
    """Twenty answers per task. A better model is right wherever a worse model is."""
    answers = []
    for task in TASKS:
        generator = random.Random(task)
        for number in range(20):
            level = ("easy", "hard")[number % 2]
            right = generator.random() < accuracy + (0.2 if level == "easy" else -0.2)
            answers.append(
                {
                    "model": model,
                    "task": task,
                    "level": level,
                    "cluster": f"{number // 2}",
                    "prompt": f"{task} <question> {number} & more?",
                    "target": f"{number}",
                    "response": f"{number}" if right else "no idea",
                    "is_correct": right,
                }
            )
    return answers


def selection() -> Records:
    """How often each way to select one of K answers picks a right one, over all tasks and for one of them."""
    gains = {"one_answer": 0.0, "distinct_answer": -0.05, "majority": 0.1, "best_reward": 0.07, "verifier": 0.3}
    return [
        {
            "task": task,
            "k": k,
            "method": method,
            "accuracy": rate(0.5 + gain * k / 8, 200),
            "minus_one_answer": interval(gain * k / 8, 0.03, 200) | {"clusters": 150},
        }
        for task in ("all", "facts")
        for k in (1, 2, 4, 8)
        for method, gain in gains.items()
    ]


def evaluate(answers: Records) -> dict[str, Any]:
    levels = [(task, level) for task in TASKS for level in ("easy", "hard")]
    return {
        "all": accuracy(answers),
        "tasks": {task: accuracy([one for one in answers if one["task"] == task]) for task in TASKS},
        "levels": {
            f"{task} {level}": accuracy([one for one in answers if (one["task"], one["level"]) == (task, level)])
            for task, level in levels
        },
    }


def accuracy(answers: Records) -> dict[str, float]:
    return rate(sum(answer["is_correct"] for answer in answers) / len(answers), len(answers))
