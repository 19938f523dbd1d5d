"""Print the samples that a training saw at one step: names, text, and which tokens count in the loss.

STAGE is a stage of dvc.yaml that trains: pretrain, long_context, anneal, reward, sft, dpo, ... (`dvc stage list`).
Steps count from 1, as on the stage's curves. Samples follow from the parameters alone, so nothing is trained:
a finished stage shows what it was trained on, any other stage what it would be trained on.

Examples:
    herd inspect pretrain@flagship --step 100 --samples 4
    herd inspect dpo@2 --step 12
"""

import argparse
import errno
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import command
from flows.arguments import at_least
from flows.execution import artifact
from flows.parameters import Parameters, build_config
from flows.project import ROOT
from stages.interface import Metrics, Paths, StageError

if TYPE_CHECKING:  # imports torch and dvc
    from dvc.stage import Stage

    from stages.training.sample import Sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE", help="a stage that trains, for example pretrain@flagship or dpo@1")
    parser.add_argument("--step", type=int, required=True, help="step, counted from 1 as on the stage's curves")
    parser.add_argument("--samples", type=at_least(1), default=4, help="samples of the step to print (default: 4)")


def main(options: argparse.Namespace) -> None:
    for line in format_step(ROOT, options.stage, options.step, options.samples):
        print(line)


def format_step(root: Path, stage: str, step: int, limit: int) -> Iterator[str]:
    """A heading and the text of the step's first samples; raises StageError if the stage or the step does not exist."""
    from flows.execution.dag import Dag

    stages = Dag.read(root).stages
    command = training_command(stages.get(stage))
    if command is None:
        names = ", ".join(name for name, each in stages.items() if training_command(each))
        raise StageError(f"{stage}: not a single stage that trains; these are {names}")
    module = importlib.import_module(f"stages.{command.stage}")
    inputs = {name: root / path for name, path in command.inputs.items()}
    manifest = read_json(root / command.outputs["model"] / artifact.MANIFEST, stage)
    metrics = read_json(root / command.metrics, stage)
    if manifest is None or metrics is None:
        config, metrics = Parameters(root).load_config(module.Config), None
    else:
        try:
            config = build_config(module.Config, manifest["parameters"])
        except ValueError as error:
            raise StageError(f"{stage} was trained by other code ({error}); run `dvc repro {stage}`") from None
        current = Parameters(root).select(manifest["parameters"])
        changed = [key for key, value in manifest["parameters"].items() if current[key] != value]
        if changed:
            yield f"the samples of the finished training; parameters changed since: {', '.join(changed)}"
    try:
        yield from format_samples(module, config, inputs, command.item, metrics, step, limit)
    except FileNotFoundError as error:
        raise StageError(f"{error.filename} does not exist; run `dvc repro {stage}`") from None


def training_command(stage: "Stage | None") -> argparse.Namespace | None:
    """The options in the command of a stage of dvc.yaml that trains; None for any other stage."""
    from flows.execution.dag import is_tracked
    from flows.stage import parse

    if stage is None or not is_tracked(stage):
        return None
    words = str(stage.cmd).split()
    command = parse(words[words.index("flows.stage") + 1 :])
    return command if hasattr(importlib.import_module(f"stages.{command.stage}"), "training_runs") else None


def read_json(path: Path, stage: str) -> Any:
    """The JSON that a stage has written; None if it has not run."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StageError(f"{path} is not complete JSON ({error}); run `dvc repro {stage}`") from None


def format_samples(
    module: Any, config: Any, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None, step: int, limit: int
) -> Iterator[str]:
    """`format_step` for the module of a stage, with its Config, inputs and (once finished) metrics."""
    from stages.tokenizer import bpe

    directory = next(inputs[name] for name in ("tokenizer", "policy", "base") if name in inputs)
    if not directory.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
    tokenizer, runs = bpe.load(directory), module.training_runs(config, inputs, item, metrics)
    total, index = sum(run.steps for run in runs), step - 1
    if not 0 <= index < total:
        raise StageError(f"--step {step}: the steps are 1 to {total}")
    for run in runs:
        if index < run.steps:
            break
        index -= run.steps
    yield f"step {step} of {total}: {run.title}, its step {index + 1} of {run.steps}; {run.loss_scope}"
    for sample in islice(run.batches.samples(index), limit):
        yield f"\n--- {sample.name}"
        for role, is_in_loss, tokens in segments(sample):
            text = tokenizer.decode(tokens, skip_special_tokens=False)
            label = "" if is_in_loss is None else f"[{role}: {'in the loss' if is_in_loss else 'not in the loss'}]\n"
            yield label + text


def segments(sample: "Sample") -> Iterator[tuple[str, bool | None, list[int]]]:
    """(role, whether it counts in the loss, tokens). A text, which counts completely, is one segment with None."""
    for role, sequence in sample.sequences.items():
        if role == "text":
            yield role, None, list(sequence.tokens)
        else:
            yield from ((role, is_in_loss, tokens) for is_in_loss, tokens in sequence.segments())


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
