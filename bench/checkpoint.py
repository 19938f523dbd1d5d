"""The cost of checkpoints in a training run at a scale's parameters, written in the background and synchronously.

python -m bench.checkpoint [--rounds 12]

Cycles of training steps alternate: without a checkpoint, with one written in the background, and with one that the
steps wait for. A checkpoint costs the additional time of its cycle; its share is of `training.checkpoint_seconds`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from bench.timing import table
from flows import project
from flows.parameters import Parameters
from stages.model.llama import Llama
from stages.pretraining import initial
from stages.scaling import isoflops
from stages.training.checkpoint import AsyncCheckpointer, Average, TrainingState
from stages.training.language_modelling import next_token_loss
from stages.training.loader import make_batch
from stages.training.loop import step
from stages.training.parameters import Training, make_optimizer

BAR = 2.0
"""Percent of the training time that checkpoints may cost."""
SECONDS = 1.5
"""Of steps in a cycle: long enough that a write in the background ends in it."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.checkpoint", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="cycles of each kind (default: 12)")
    rounds = parser.parse_args().rounds
    parameters = Parameters(project.ROOT)
    torch.set_num_threads(parameters.cluster.threads or torch.get_num_threads())
    state, advance, training = trainer(parameters)
    with tempfile.TemporaryDirectory(dir=project.ROOT) as directory:
        costs = measure(state, advance, Path(directory), rounds)
        size = sum(file.stat().st_size for file in Path(directory).rglob("*") if file.is_file()) / 2
    count = sum(p.numel() for p in state.model.parameters())
    print(f"{count:,} parameters, {size / 1e6:.1f} MB a checkpoint, one every {training.checkpoint_seconds:g} s")

    def share(cost: float) -> str:
        return f"{100 * cost / training.checkpoint_seconds:.3f}"

    background, waited = (costs[kind] for kind in ("background", "waited for"))
    table(
        [
            (
                "ms a checkpoint costs",
                f"{1e3 * background:.1f}",
                f"{1e3 * waited:.1f}",
                f"{waited / background:.1f}" if background > 0 else "within the noise",
            ),
            ("% of training time", share(background), share(waited), f"(at most {BAR:g})"),
            ("noise, ms: spread of a cycle without", f"{1e3 * costs['noise']:.1f}", "", ""),
        ]
    )


def trainer(parameters: Parameters) -> tuple[TrainingState, Callable[[], None], Training]:
    """The state of a model of the scale's third largest rung, and what makes a step on random tokens."""
    sweep, config = parameters.load_config(isoflops.Config), parameters.load_config(initial.Config)
    vocabulary = parameters.resolved["tokenizer"]["vocab_size"]
    model = Llama(sweep.architecture.config(sweep.ladder[-3], vocabulary)).init_weights(1)
    state = TrainingState(model, make_optimizer(model, config.training), Average(), "bench")
    state.average.add(model)  # as while annealing, when a checkpoint is largest
    size, length = config.pretraining.batch_tokens // config.pretraining.length, config.pretraining.length
    rows = torch.from_numpy(np.random.default_rng(0).integers(2, vocabulary, (size, length + 1)))
    batch = make_batch(rows, begin_of_text=1)

    def advance() -> None:
        step(model, [batch], next_token_loss, state.optimizer, 1e-4, config.training)
        state.step += 1

    return state, advance, config.training


def measure(state: TrainingState, advance: Callable[[], None], directory: Path, rounds: int) -> dict[str, float]:
    """Seconds that a checkpoint of each kind adds to a cycle of steps, and the spread of those without."""
    start = time.perf_counter()
    for _ in range(5):
        advance()
    steps = max(4, round(SECONDS * 5 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {"none": [], "background": [], "waited for": []}
    with AsyncCheckpointer(directory) as checkpoints:
        for _ in range(rounds):
            for kind, times in seconds.items():
                start = time.perf_counter()
                if kind == "background":
                    checkpoints.save(state)
                elif kind == "waited for":
                    state.save(directory)
                for _ in range(steps):
                    advance()
                times.append(time.perf_counter() - start)
                checkpoints.wait()
    without = median(seconds["none"])
    spread = median(abs(value - without) for value in seconds["none"])
    # Paired: each against the cycle without one of its own round.
    costs = {
        kind: median(a - b for a, b in zip(times, seconds["none"], strict=True)) for kind, times in seconds.items()
    }
    return costs | {"noise": spread}


if __name__ == "__main__":
    main()
