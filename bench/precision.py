"""Loss curves in bfloat16 beside float32: whether they lie within the spread of a few seeds.

python -m bench.precision [--tokens 400000] [--rung 7] [--seeds 3] [--data data/tokens]

Each seed has its own weights and its own order of the data, the same in both precisions. Held-out losses are of the
same windows for all, computed in float32.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.timing import table
from flows import project
from flows.parameters import Parameters
from stages import statistics
from stages.interface import A, B, Context, Kind, Row
from stages.model.llama import Llama
from stages.pretraining import initial
from stages.scaling import isoflops
from stages.training.language_modelling import MixtureBatches, held_out, held_out_losses, next_token_loss
from stages.training.loader import Mixture, TokenShards
from stages.training.loop import Training, train

PRECISIONS = ("fp32", "bf16")
PIECES = 10
"""Parts of the training whose mean losses are compared."""


class Silent:
    """A context that nobody watches."""

    def __init__(self, scratch: Path) -> None:
        self.item: Mapping[str, str] = {}
        self.scratch = scratch

    def progress(self, name: str, done: float, total: float) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: Sequence[Row]) -> None: ...
    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def map(self, name: str, function, items: Iterable[A], kind: Kind = "thread") -> list[B]:
        return [function(item) for item in items]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=400_000, help="training tokens of each run (default: 400000)")
    parser.add_argument("--rung", type=int, default=7, help="shape on the scale's ladder (default: 7)")
    parser.add_argument("--seeds", type=int, default=3, help="runs in each precision (default: 3)")
    parser.add_argument("--data", type=Path, default=project.ROOT / "data" / "tokens", help="token shards")
    arguments = parser.parse_args()
    if not (arguments.data / "tokens.json").exists():
        sys.exit(f"{arguments.data}: no tokens; run `dvc repro encode`")
    parameters = Parameters(project.ROOT)
    torch.set_num_threads(parameters.cluster.threads or torch.get_num_threads())
    curves: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}
    final: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(1, arguments.seeds + 1):
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as scratch:
                curve, loss = trained(parameters, arguments, precision, seed, Silent(Path(scratch)))
            curves[precision].append(curve)
            final[precision].append(loss)
            print(f"seed {seed}, {precision}: held-out loss {loss:.4f}", file=sys.stderr, flush=True)
    report(curves, final)


def trained(
    parameters: Parameters, arguments: argparse.Namespace, precision: str, seed: int, context: Context
) -> tuple[np.ndarray, float]:
    """Training loss of each step, and the mean held-out loss at the end."""
    sweep, config = parameters.read(isoflops.Config), parameters.read(initial.Config)
    shards, length = TokenShards(arguments.data), config.pretraining.length
    training = Training.model_validate(config.training.model_dump() | {"precision": precision})
    size = max(1, config.pretraining.batch_tokens // length)
    shape = sweep.architecture.config(sweep.ladder[arguments.rung], shards.vocab_size)
    schedule = initial.schedule_of(config, shape, max(1, round(arguments.tokens / (size * length))))
    model = Llama(shape).initialise(seed)
    batches = MixtureBatches(Mixture(shards, "train", config.mix.shares(), length, seed), size, training.micro_tokens)
    history, _ = train(model, batches, next_token_loss, schedule, training, scratch=context.scratch, context=context,
                       title=f"{precision} {seed}")  # fmt: skip
    exact = Training.model_validate(config.training.model_dump() | {"precision": "fp32"})
    windows = held_out(shards, config.mix.shares(), length, config.seed)
    losses = held_out_losses(model, windows, config.pretraining.validation_windows, exact)
    return np.array([row["loss"] for row in history]), float(losses.mean())


def report(curves: Mapping[str, Sequence[np.ndarray]], final: Mapping[str, Sequence[float]]) -> None:
    """Prints final losses, their spread over seeds, and in how many parts of the training the curves overlap."""
    losses = {precision: np.array(values) for precision, values in final.items()}
    paired = statistics.over_seeds(losses["bf16"] - losses["fp32"])
    rows = [(f"held-out loss, seed {seed + 1}", f"{losses['bf16'][seed]:.4f}", f"{losses['fp32'][seed]:.4f}",
             f"{losses['bf16'][seed] - losses['fp32'][seed]:+.4f}") for seed in range(len(losses["fp32"]))]  # fmt: skip
    spread = {precision: values.max() - values.min() for precision, values in losses.items()}
    rows.append(("  mean", f"{losses['bf16'].mean():.4f}", f"{losses['fp32'].mean():.4f}",
                 f"{paired['value']:+.4f} ({paired['low']:+.4f} to {paired['high']:+.4f}, paired)"))  # fmt: skip
    rows.append(("  spread over seeds", f"{spread['bf16']:.4f}", f"{spread['fp32']:.4f}", ""))
    parts = {
        precision: np.array([[part.mean() for part in np.array_split(curve, PIECES)] for curve in each])
        for precision, each in curves.items()
    }
    low, high = parts["fp32"].min(0), parts["fp32"].max(0)
    within = (parts["bf16"].mean(0) >= low) & (parts["bf16"].mean(0) <= high)
    rows.append((f"tenths of training where bf16's mean lies in float32's range ({PIECES})", f"{within.sum()}", "", ""))
    between = np.abs(parts["bf16"] - parts["fp32"]).mean()
    seeds = np.mean([parts["fp32"].std(0, ddof=1).mean(), parts["bf16"].std(0, ddof=1).mean()])
    rows.append(("mean distance of the curves: of precisions, of seeds", f"{between:.4f}", f"{seeds:.4f}",
                 f"{seeds / between:.1f}"))  # fmt: skip
    table([("", "bfloat16", "float32", ""), *rows])


if __name__ == "__main__":
    main()
