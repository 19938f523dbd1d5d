"""Loss curves in bfloat16 beside float32 over a whole pretraining: do those of a few seeds lie in one another's range?

python -m bench.precision [--project DIR] [--seeds 3] [--member flagship] [--plot docs/precision.png]

Each run is the three stages of pretraining as the DAG runs them: the member's shape, tokens, ramp, schedules, annealing
and average of checkpoints. A seed stands for its own weights and its own order of the data, the same in both
precisions. Held-out losses are of the same windows for all, computed in float32. With --rung and --tokens any other
shape of the scale's ladder is trained, for a quick look.
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
PIECES = 10
"""Parts of the training whose mean losses are compared."""


@dataclass(frozen=True)
class Job:
    """One pretraining; all that a worker process needs."""

    project: Path
    herd: Path
    member: str
    precision: str
    seed: int


@dataclass(frozen=True)
class Pretrained:
    """What came of it."""

    curves: dict[str, np.ndarray]
    """Tokens seen in the phase and training loss, a row per step, of each phase."""
    losses: dict[str, float]
    """Mean held-out loss after each phase."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--project",
        type=Path,
        default=project.ROOT,
        help="where data/tokens, data/herd.json and models/tokenizer lie (default: here)",
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
        herd = planned(arguments, Path(scratch) / "herd.json")
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


def planned(arguments: argparse.Namespace, path: Path) -> Path:
    """Writes the fit's plan of the herd to `path`, the member's shape and tokens changed as the arguments say."""
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


def pretrain(job: Job) -> Pretrained:
    """Runs the stages of pretraining one after the other, annealing without its control."""
    parameters = Parameters(project.ROOT)
    torch.set_num_threads(parameters.cluster.threads or 1)
    data, tokenizer = job.project / "data" / "tokens", job.project / "models" / "tokenizer"
    curves, losses = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        inputs = {"tokens": data, "tokenizer": tokenizer, "herd": job.herd}
        for phase, stage in PHASES.items():
            config = parameters.load_config(stage.Config)
            common: dict[str, Any] = {"seed": job.seed, "training": in_precision(config.training, job.precision)}
            if stage is annealing:
                common["annealing"] = config.annealing.model_copy(update={"control": False})
            outputs = {"model": place / phase / "model", "curve": place / phase / "curve.csv"}
            outputs["model"].mkdir(parents=True)
            context = NullContext(place / phase / "scratch", {"member": job.member})
            context.scratch.mkdir()
            stage.run(replace(config, **common), inputs, outputs, context)
            inputs["model"] = outputs["model"]
            curves[phase] = read_curve(outputs["curve"])
            held_out = Validation(
                TokenShards(data),
                config.mix.shares(),
                config.pretraining,
                in_precision(config.training, "fp32"),
                config.seed,
            )
            losses[phase] = float(held_out.losses(load_model(outputs["model"])).mean())
    print(f"seed {job.seed}, {NAMES[job.precision]}: held-out loss {losses['annealing']:.4f}", file=sys.stderr)
    return Pretrained(curves, losses)


def in_precision(training: Training, precision: str) -> Training:
    """The same training in another precision."""
    return Training.model_validate(training.model_dump() | {"precision": precision})


def read_curve(path: Path) -> np.ndarray:
    """Tokens and loss of each step, [steps, 2]."""
    header, *lines = path.read_text().splitlines()
    columns = [header.split(",").index(name) for name in ("tokens", "loss")]
    return np.array([[float(line.split(",")[column]) for column in columns] for line in lines])


def joined(runs: Mapping[str, Sequence[Pretrained]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Tokens seen at each step, [steps], and each precision's losses, [seeds, steps], of one phase after the other.

    Where a gate of the long-context phase opened in some runs only, that phase is left out.
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


def report(runs: Mapping[str, Sequence[Pretrained]]) -> None:
    """Prints held-out losses, their spread over seeds, and in how many parts of the training the curves overlap."""
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
        rows.append(("  largest less smallest", f"{np.ptp(losses['bf16']):.4f}", f"{np.ptp(losses['fp32']):.4f}", ""))
        columns = {precision: each[:, None] for precision, each in losses.items()}
        rows.append(
            (
                "  mean lies in the other's range",
                "yes" if inside(columns["bf16"], columns["fp32"]) else "no",
                "yes" if inside(columns["fp32"], columns["bf16"]) else "no",
                "",
            )
        )
    _, curves = joined(runs)
    parts = {precision: pieces(each) for precision, each in curves.items()}
    rows.append(
        (
            f"tenths of the training ({PIECES}) where the mean lies in the other's range",
            f"{inside(parts['bf16'], parts['fp32'])}",
            f"{inside(parts['fp32'], parts['bf16'])}",
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


def pieces(losses: np.ndarray) -> np.ndarray:
    """Mean loss in each part of the training, [seeds, PIECES]."""
    return np.stack([part.mean(1) for part in np.array_split(losses, PIECES, axis=1)], axis=1)


def inside(mine: np.ndarray, others: np.ndarray) -> int:
    """In how many columns my mean lies between the others' smallest and largest."""
    mean = mine.mean(0)
    return int(((mean >= others.min(0)) & (mean <= others.max(0))).sum())


def draw(runs: Mapping[str, Sequence[Pretrained]], path: Path) -> None:
    """The curves; both with the range of their seeds, beside float32's mean; and the difference within each seed."""
    from matplotlib.figure import Figure

    tokens, curves = joined(runs)
    smooth = {precision: smoothed(losses) for precision, losses in curves.items()}
    at = tokens[len(tokens) - smooth["fp32"].shape[1] :] / 1e6
    usual = smooth["fp32"].mean(0)
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    whole, beside, within = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    for precision, colour, line in (("fp32", "#0072b2", "-"), ("bf16", "#d55e00", "--")):
        label = f"{NAMES[precision]}: mean and range of {len(smooth[precision])} seeds"
        for axes, band in ((whole, smooth[precision]), (beside, smooth[precision] - usual)):
            axes.fill_between(at, band.min(0), band.max(0), color=colour, alpha=0.2, linewidth=0)
            axes.plot(at, band.mean(0), color=colour, linestyle=line, linewidth=1.2, label=label)
    for seed, difference in enumerate(smooth["bf16"] - smooth["fp32"], 1):
        within.plot(at, difference, linewidth=0.8, label=f"seed {seed}")
    within.axhline(0, color="black", linewidth=0.6)
    whole.set_ylabel("training loss,\nnats a token")
    beside.set_ylabel("less the mean\nof float32")
    within.set_ylabel("bfloat16 less\nfloat32")
    within.set_xlabel("million tokens")
    for axes in (whole, within):
        axes.legend(frameon=False, fontsize=8)
    for axes in (whole, beside, within):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3, linewidth=0.5)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Mean over the steps before, as many as a fortieth of all, [seeds, fewer steps]."""
    window = max(1, losses.shape[1] // 40)
    sums = np.cumsum(np.pad(losses, ((0, 0), (1, 0))), axis=1)
    return (sums[:, window:] - sums[:, :-window]) / window


if __name__ == "__main__":
    main()
