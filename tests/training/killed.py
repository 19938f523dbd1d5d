"""Runs stages that are killed with SIGKILL, again and again, until they end; and each once without being killed.

    python -m tests.training.killed WORLD OUT

OUT/<stage>/straight and OUT/<stage>/killed then hold what both made, OUT/<stage>/log.json what happened. One process
imports torch and forks a child for each run, before it has computed anything itself.
"""

import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from stages.interface import Metrics, Paths
from stages.posttraining import dpo, reward, sft
from stages.pretraining import annealing, initial, long_context
from stages.training import checkpoint
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, settings, tuning
from tests.recorder import Recorder

TRAINING = settings(precision="bf16", checkpoint_seconds=1e-9, micro_tokens=64)
RAMP = [initial.Ramp(share=0.2, length=16, batch_tokens=64), initial.Ramp(share=0.8, length=32, batch_tokens=128)]
INITIAL = initial.Config(
    1, MIX, TRAINING, LEARNING_RATE, PRETRAINING, initial.Initial(warmup_share=0.1, floor=0.1, ramp=RAMP)
)
LONG = long_context.Config(
    1,
    MIX,
    TRAINING,
    LEARNING_RATE,
    PRETRAINING,
    long_context.LongContext(rate=0.3, lengths=[48, 64], segments=2, loss_tolerance=100, needle_threshold=0, needles=1),
)
ANNEALING = annealing.Config(
    1, MIX, TRAINING, LEARNING_RATE, PRETRAINING, annealing.Annealing(start=0.3, mix=MIX, checkpoints=3, control=True)
)
VARIANTS = tuning(rates=[1e-2, 5e-3])
PREFERENCE = dpo.DPO(beta=0.1, nll=0.2, mask_formatting=True, tuning=VARIANTS)


def runs(world: World, posttraining: Path) -> dict[str, Callable[[Paths, Recorder], Metrics]]:
    """What is run: each stage that trains."""
    base, tuned = world.pretraining_inputs, {"policy": world.model}
    data = {"demonstrations": posttraining, "preferences": posttraining}
    ranked = reward.Config(1, TRAINING, reward.Reward(start="base", tuning=VARIANTS, held_out=0.2))
    return {
        "initial": lambda outputs, context: initial.run(INITIAL, base, outputs, context),
        "long_context": lambda outputs, context: long_context.run(LONG, base, outputs, context),
        "annealing": lambda outputs, context: annealing.run(ANNEALING, base, outputs, context),
        "sft": lambda outputs, context: sft.run(sft.Config(1, TRAINING, VARIANTS), tuned | data, outputs, context),
        "dpo": lambda outputs, context: dpo.run(dpo.Config(1, TRAINING, PREFERENCE), tuned | data, outputs, context),
        "reward": lambda outputs, context: reward.run(ranked, {"base": world.model} | data, outputs, context),
    }


class Doomed(Recorder):
    """Its process dies after so many steps, or at so many writes to the disk: in the middle of a checkpoint."""

    def __init__(self, scratch: Path, steps: int = 0, writes: int = 0) -> None:
        super().__init__(scratch, member="flagship")
        self.steps = steps
        self.writes = writes
        if writes:
            checkpoint.os.fsync = self.fsync  # type: ignore[attr-defined]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(self, file: int) -> None:
        self.writes -= 1
        if self.writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, text: str) -> None:
        with (self.scratch / "notes").open("a") as file:
            file.write(text + "\n")


def child(run: Callable[[Paths, Recorder], Metrics], directory: Path, **doom: int) -> int:
    """Runs it in a child process; its exit status, negative for a signal."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            (directory / "scratch").mkdir(parents=True, exist_ok=True)
            outputs = {"model": directory / "made" / "model", "curve": directory / "made" / "curve.csv"}
            outputs["model"].mkdir(parents=True, exist_ok=True)
            metrics = run(outputs, Doomed(directory / "scratch", **doom))
            (directory / "made" / "metrics.json").write_text(json.dumps(metrics, sort_keys=True))
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    world, out = World.at(Path(sys.argv[1])), Path(sys.argv[2])
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # as the first optimizer does: seconds, once instead of in each child
    for name, run in runs(world, world.documents).items():
        generator = random.Random(name)
        # Few enough that each run is killed before its end, and the first late enough that a checkpoint is whole: it is
        # written beside the next step. One is six writes.
        dooms = [
            {"steps": generator.randrange(3, 5)},
            {"writes": generator.randrange(1, 9)},
            {"steps": generator.randrange(1, 4)},
            {"writes": generator.randrange(1, 9)},
        ]
        codes = [child(run, out / name / "straight")]
        codes += [child(run, out / name / "killed", **doom) for doom in dooms]
        codes.append(child(run, out / name / "killed"))
        notes = (out / name / "killed" / "scratch" / "notes").read_text().splitlines()
        (out / name / "log.json").write_text(json.dumps({"codes": codes, "notes": notes}))


if __name__ == "__main__":
    main()
