"""Loss curves in bfloat16 and float32 over a full pretraining: are those of a few seeds within each other's range?

python -m bench.precision [--project DIR] [--seeds 3] [--member flagship] [--plot docs/precision.png]

Each run is the three stages of pretraining as in the DAG: the member's shape, tokens, ramp, schedules, annealing and
average of checkpoints. A seed determines the initial weights and the order of the data, in both precisions. Held-out
losses are of the same windows for all runs, in float32. --rung and --tokens select another shape of the scale's ladder,
for a quick test.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.timing import table
from flows import project
from flows.execution.executors import ProcessExecutor
from flows.parameters import Parameters
from stages import statistics
from stages.model.files import load_model
from stages.pretraining import annealing, initial, long_context
from stages.pretraining.phase import Validation
from stages.scaling import isoflops
from stages.training.loader import TokenShards
from stages.training.null_context import NullContext
from stages.training.parameters import Training

PRECISIONS = ("fp32", "bf16")
NAMES = {"fp32": "float32", "bf16": "bfloat16"}
PHASES = {"initial": initial, "long context": long_context, "annealing": annealing}
NUM_SEGMENTS = 10
"""Segments of the training whose mean losses are compared."""


@dataclass(frozen=True)
class Job:
    """One pretraining, as a worker process needs it."""

    project: Path
    herd: Path
    member: str
    precision: str
    seed: int


@dataclass(frozen=True)
class PretrainingResult:
    """The result of a job."""

    curves: dict[str, np.ndarray]
    """Tokens seen and training loss of each step, [steps, 2], by phase."""
    losses: dict[str, float]
    """Mean held-out loss after each phase."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--project",
        type=Path,
        default=project.ROOT,
        help="the project with data/tokens, data/herd.json and models/tokenizer (default: this project)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs in each precision (default: 3)")
    parser.add_argument("--member", default="flagship", help="whose shape and tokens (default: flagship)")
    parser.add_argument("--rung", type=int, help="a shape of the scale's ladder instead")
    parser.add_argument("--tokens", type=int, help="tokens of all phases instead")
    parser.add_argument("--plot", type=Path, help="file to draw the curves into")
    arguments = parser.parse_args()
    missing = [
        name
        for name in ("data/tokens", "data/herd.json", "models/tokenizer")
        if not (arguments.project / name).exists()
    ]
    if missing:
        sys.exit(f"{arguments.project}: no {', '.join(missing)}; run `dvc repro fit`")
    cluster = Parameters(project.ROOT).cluster
    with tempfile.TemporaryDirectory() as scratch:
        herd = write_plan(arguments, Path(scratch) / "herd.json")
        jobs = [
            Job(arguments.project, herd, arguments.member, precision, seed)
            for seed in range(1, arguments.seeds + 1)
            for precision in PRECISIONS
        ]
        executor = ProcessExecutor(cluster.max_workers)
        with ThreadPoolExecutor(cluster.max_workers) as threads:
            done = list(threads.map(executor.run, repeat(pretrain), jobs))
        executor.close()
    runs = {
        precision: [run for job, run in zip(jobs, done, strict=True) if job.precision == precision]
        for precision in PRECISIONS
    }
    report(runs)
    if arguments.plot:
        draw(runs, arguments.plot)


def write_plan(arguments: argparse.Namespace, path: Path) -> Path:
    """Writes the fit's plan of the herd to `path`, with the member's shape and tokens from the arguments."""
    plan: dict[str, Any] = json.loads((arguments.project / "data" / "herd.json").read_text())
    member = plan["members"][arguments.member]
    if arguments.rung is not None:
        sweep = Parameters(project.ROOT).load_config(isoflops.Config)
        vocabulary = TokenShards(arguments.project / "data" / "tokens").vocab_size
        member["config"] = sweep.architecture.config(sweep.ladder[arguments.rung], vocabulary).to_json()
    if arguments.tokens is not None:
        member["tokens"] = arguments.tokens
    path.write_text(json.dumps(plan))
    return path


def pretrain(job: Job) -> PretrainingResult:
    """Runs the stages of pretraining in order, annealing without its control."""
    parameters = Parameters(project.ROOT)
    torch.set_num_threads(parameters.cluster.threads or 1)
    data, tokenizer = job.project / "data" / "tokens", job.project / "models" / "tokenizer"
    curves, losses = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        inputs = {"tokens": data, "tokenizer": tokenizer, "herd": job.herd}
        for phase, stage in PHASES.items():
            config = parameters.load_config(stage.Config)
            common: dict[str, Any] = {"seed": job.seed, "training": set_precision(config.training, job.precision)}
            if stage is annealing:
                common["annealing"] = config.annealing.model_copy(update={"control": False})
            outputs = {"model": directory / phase / "model", "curve": directory / phase / "curve.csv"}
            outputs["model"].mkdir(parents=True)
            context = NullContext(directory / phase / "scratch", {"member": job.member})
            context.scratch.mkdir()
            stage.run(replace(config, **common), inputs, outputs, context)
            inputs["model"] = outputs["model"]
            curves[phase] = read_curve(outputs["curve"])
            held_out = Validation(
                TokenShards(data),
                config.mix.shares(),
                config.pretraining,
                set_precision(config.training, "fp32"),
                config.seed,
            )
            losses[phase] = float(held_out.losses(load_model(outputs["model"])).mean())
    print(f"seed {job.seed}, {NAMES[job.precision]}: held-out loss {losses['annealing']:.4f}", file=sys.stderr)
    return PretrainingResult(curves, losses)


def set_precision(training: Training, precision: str) -> Training:
    """The same training in another precision."""
    return Training.model_validate(training.model_dump() | {"precision": precision})


def read_curve(path: Path) -> np.ndarray:
    """Tokens and loss of each step, [steps, 2]."""
    header, *lines = path.read_text().splitlines()
    columns = [header.split(",").index(name) for name in ("tokens", "loss")]
    return np.array([[float(line.split(",")[column]) for column in columns] for line in lines])


def join_phases(runs: Mapping[str, Sequence[PretrainingResult]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Tokens seen at each step, [steps], and each precision's losses, [seeds, steps], with the phases concatenated.

    Leaves out the long-context phase if a gate opened in some runs only.
    """
    every = [run for each in runs.values() for run in each]
    phases = [phase for phase in PHASES if len({len(run.curves[phase]) for run in every}) == 1]
    tokens: list[np.ndarray] = [np.zeros(1)]
    for phase in phases:
        tokens.append(tokens[-1][-1] + every[0].curves[phase][:, 0])
    losses = {
        precision: np.array([np.concatenate([run.curves[phase][:, 1] for phase in phases]) for run in each])
        for precision, each in runs.items()
    }
    return np.concatenate(tokens[1:]), losses


def report(runs: Mapping[str, Sequence[PretrainingResult]]) -> None:
    """Prints held-out losses, their spread over seeds, and in how many segments of the training the curves overlap."""
    rows = []
    for phase in PHASES:
        losses = {precision: np.array([run.losses[phase] for run in each]) for precision, each in runs.items()}
        difference = losses["bf16"] - losses["fp32"]
        rows += [
            (f"held-out loss after {phase}, seed {seed}", f"{bf16:.4f}", f"{fp32:.4f}", f"{bf16 - fp32:+.4f}")
            for seed, (bf16, fp32) in enumerate(zip(losses["bf16"], losses["fp32"], strict=True), 1)
        ]
        rows.append(
            (
                "  mean; of the pairs, with its interval",
                f"{losses['bf16'].mean():.4f}",
                f"{losses['fp32'].mean():.4f}",
                interval(difference),
            )
        )
        rows.append(("  maximum less minimum", f"{np.ptp(losses['bf16']):.4f}", f"{np.ptp(losses['fp32']):.4f}", ""))
        columns = {precision: each[:, None] for precision, each in losses.items()}
        rows.append(
            (
                "  mean is in the other's range",
                "yes" if count_inside(columns["bf16"], columns["fp32"]) else "no",
                "yes" if count_inside(columns["fp32"], columns["bf16"]) else "no",
                "",
            )
        )
    _, curves = join_phases(runs)
    parts = {precision: segment_means(each) for precision, each in curves.items()}
    rows.append(
        (
            f"tenths of the training ({NUM_SEGMENTS}) where the mean is in the other's range",
            f"{count_inside(parts['bf16'], parts['fp32'])}",
            f"{count_inside(parts['fp32'], parts['bf16'])}",
            "",
        )
    )
    rows.append(
        (
            "mean training loss; of the pairs, with its interval",
            f"{parts['bf16'].mean():.4f}",
            f"{parts['fp32'].mean():.4f}",
            interval((parts["bf16"] - parts["fp32"]).mean(1)),
        )
    )
    between = np.abs(parts["bf16"] - parts["fp32"]).mean()
    seeds = np.mean([each.std(0, ddof=1).mean() for each in parts.values()])
    rows.append(
        (
            "distance of curves: of precisions, standard deviation over seeds",
            f"{between:.4f}",
            f"{seeds:.4f}",
            f"{seeds / between:.1f}",
        )
    )
    table([("", "bfloat16", "float32", "difference"), *rows])


def interval(differences: np.ndarray) -> str:
    """A mean over seeds as text."""
    found = statistics.mean_over_seeds(differences)
    return f"{found['value']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def segment_means(losses: np.ndarray) -> np.ndarray:
    """Mean loss in each segment of the training, [seeds, NUM_SEGMENTS]."""
    return np.stack([part.mean(1) for part in np.array_split(losses, NUM_SEGMENTS, axis=1)], axis=1)


def count_inside(losses: np.ndarray, others: np.ndarray) -> int:
    """In how many columns the mean of `losses` is between the others' minimum and maximum."""
    mean = losses.mean(0)
    return int(((mean >= others.min(0)) & (mean <= others.max(0))).sum())


def draw(runs: Mapping[str, Sequence[PretrainingResult]], path: Path) -> None:
    """Plots the curves, their ranges over seeds relative to float32's mean, and the difference for each seed."""
    from matplotlib.figure import Figure

    tokens, curves = join_phases(runs)
    smoothed = {precision: smooth(losses) for precision, losses in curves.items()}
    at = tokens[len(tokens) - smoothed["fp32"].shape[1] :] / 1e6
    reference = smoothed["fp32"].mean(0)
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    absolute, relative, paired = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    for precision, colour, line in (("fp32", "#0072b2", "-"), ("bf16", "#d55e00", "--")):
        label = f"{NAMES[precision]}: mean and range of {len(smoothed[precision])} seeds"
        for axes, band in ((absolute, smoothed[precision]), (relative, smoothed[precision] - reference)):
            axes.fill_between(at, band.min(0), band.max(0), color=colour, alpha=0.2, linewidth=0)
            axes.plot(at, band.mean(0), color=colour, linestyle=line, linewidth=1.2, label=label)
    for seed, difference in enumerate(smoothed["bf16"] - smoothed["fp32"], 1):
        paired.plot(at, difference, linewidth=0.8, label=f"seed {seed}")
    paired.axhline(0, color="black", linewidth=0.6)
    absolute.set_ylabel("training loss,\nnats a token")
    relative.set_ylabel("less the mean\nof float32")
    paired.set_ylabel("bfloat16 less\nfloat32")
    paired.set_xlabel("million tokens")
    for axes in (absolute, paired):
        axes.legend(frameon=False, fontsize=8)
    for axes in (absolute, relative, paired):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3, linewidth=0.5)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def smooth(losses: np.ndarray) -> np.ndarray:
    """Moving average over a fortieth of the steps, [seeds, fewer steps]."""
    window = max(1, losses.shape[1] // 40)
    sums = np.cumsum(np.pad(losses, ((0, 0), (1, 0))), axis=1)
    return (sums[:, window:] - sums[:, :-window]) / window


if __name__ == "__main__":
    main()
