"""Measure a model on held-out tasks: accuracy per task, with its 95% interval.

Prompts, sampling and seed are those of the scale in params.yaml, as in the stage `evaluate`.

Examples:
    herd evaluate --model models/flagship/chat
    herd evaluate --model models/small/chat --task arithmetic --task code -n 50 --json
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows import command, project
from flows.arguments import at_least
from flows.parameters import Parameters
from flows.plan import format_columns
from stages.interface import StageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="a model directory")
    parser.add_argument("--task", action="append", metavar="NAME", help="a task; may be repeated (default: all)")
    parser.add_argument("-n", type=at_least(1), metavar="N", help="prompts per task (default: as in the DAG)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(options: argparse.Namespace) -> None:
    project.restart_with_environment()
    accuracies = evaluate(project.ROOT, options.model, options.task, options.n)
    if options.json:
        print(json.dumps(accuracies, indent=1))
        return
    rows = []
    for task, accuracy in accuracies.items():
        value, low, high = (f"{100 * accuracy[key]:.1f}" for key in ("value", "low", "high"))
        rows.append({"task": task, "accuracy, %": value, "95% interval": f"{low} to {high}"})
    print("\n".join(format_columns(rows)))


def evaluate(root: Path, model: Path, tasks: Sequence[str] | None, num_prompts: int | None) -> dict[str, Any]:
    """Task -> accuracy with its interval, and "all"; raises StageError if a task does not exist."""
    parameters = Parameters(root)
    os.environ["OMP_NUM_THREADS"] = str(parameters.cluster.num_threads)
    from stages.evaluation.tasks import Config, accuracies
    from stages.posttraining.respond import Responder
    from stages.tasks import HELPFUL_TASKS, generate, verify

    unknown = sorted(set(tasks or ()) - {*HELPFUL_TASKS})
    if unknown:
        raise StageError(f"--task {', '.join(unknown)}: the tasks are {', '.join(HELPFUL_TASKS)}")
    config = parameters.load_config(Config)
    n = num_prompts or config.evaluation.prompts
    chosen = [task for task in HELPFUL_TASKS if not tasks or task in tasks]
    examples = [example for task in chosen for example in generate(task, "test", n, config.seed)]
    responses = Responder.load(model).respond(examples, config.sampling, seed=config.seed)
    is_correct = verify(examples, [text for (text,) in responses])
    found = accuracies(examples, is_correct, chosen)
    return found["tasks"] | {"all": found["all"]}


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
