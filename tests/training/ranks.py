"""Trains one model on one process and, in process groups on this machine (gloo), at every kind of layout.

    python -m tests.training.ranks WORLD OUT

OUT/results.json then holds each run's history, and how far its weights end from those of one process. One process
imports torch and forks the ranks, before it has computed anything itself.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed import elastic  # noqa: F401  imported before the fork, once
from torch.distributed.checkpoint import filesystem  # noqa: F401

from stages.model.layout import Layout
from stages.model.llama import Llama
from stages.training.language_modelling import MixtureBatches, next_token_loss
from stages.training.loader import Mixture, TokenBatch
from stages.training.loop import ALONE, History, train
from stages.training.parallel import Ranks
from stages.training.schedule import Schedule
from tests.fixtures import MIX, World, change, settings, shape
from tests.recorder import Recorder

LENGTH, SIZE, STEPS, STOP = 128, 8, 5, 3
# Adam divides by the gradient's size: eps keeps it from blowing rounding up where a gradient is next to nothing.
TRAINING = settings(eps=1e-4, clip=0.5, micro_tokens=4 * LENGTH)
UNTIED = shape(num_hidden_layers=4, tie_word_embeddings=False)
TIED = shape(num_hidden_layers=4)
TWO = {
    "fsdp": Layout(dp=2), "tp": Layout(tp=2), "cp": Layout(cp=2), "pp": Layout(pp=2, virtual_stages=2),
}  # fmt: skip
FOUR = {
    "tp x fsdp": Layout(tp=2, dp=2, recompute="elementwise"),
    "pp x cp": Layout(pp=2, cp=2, shorter_ends=1, recompute="selective"),
}


class Stopped(Exception):
    """The run was to go no further."""


class Stopping:
    """Batches that end the run before step `at`, on every rank."""

    def __init__(self, batches: MixtureBatches, at: int) -> None:
        self.batches, self.at, self.fingerprint = batches, at, batches.fingerprint

    def __call__(self, step: int) -> list[TokenBatch]:
        if step == self.at:
            raise Stopped
        return list(self.batches(step))


def run(world: World, scratch: Path, ranks: Any = ALONE, config: Any = UNTIED, stop: int = STEPS) -> dict[str, Any]:
    """The history, the weights and the averaged weights."""
    model = Llama(config).initialise(1)
    training = TRAINING if stop == STEPS else change(TRAINING, checkpoint_seconds=1e-9)
    mixture = Mixture(world.shards, "train", MIX.shares(), LENGTH, 1)
    context = Recorder(scratch)
    context.ranks = ranks  # type: ignore[attr-defined]
    try:
        history, average = train(model, Stopping(MixtureBatches(mixture, SIZE, TRAINING.micro_tokens), stop),
                                 next_token_loss, Schedule(1e-2, STEPS, 1), training, scratch=scratch,
                                 context=context, title="test", average_at=[2, STEPS])  # fmt: skip
    except Stopped:
        return {}
    return {
        "history": history,
        "weights": {n: p.detach() for n, p in model.named_parameters()},
        "average": average.mean,
    }


def farthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def one_rank(number: int, count: int, world: World, out: Path) -> dict[str, History | float]:
    """All that rank `number` of `count` does; returns what it found."""
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting-{count}", rank=number, world_size=count)
    alone = {config: run(world, out / f"{count}-{number}-{config.tie_word_embeddings}", config=config)
             for config in (UNTIED, TIED)}  # fmt: skip
    found: dict[str, History | float] = {"alone": alone[UNTIED]["history"], "alone, tied": alone[TIED]["history"]}

    def compare(name: str, scratch: Path, ranks: Any, config: Any = UNTIED) -> None:
        made = run(world, scratch, ranks, config)
        found[name] = made["history"]
        for kind in ("weights", "average"):
            found[f"{name}: {kind}"] = farthest(made[kind], alone[config][kind])

    if count == 2:
        for name, layout in TWO.items():
            compare(name, out / name, Ranks(layout))
        run(world, out / "stopped", Ranks(TWO["fsdp"]), stop=STOP)
        run(world, out / f"stopped-alone-{number}", stop=STOP)
        for name, layout in {"fsdp, then tp": Layout(tp=2, recompute="full"), "fsdp, then pp": TWO["pp"]}.items():
            if number == 0:
                shutil.copytree(out / "stopped", out / name)
            dist.barrier()
            compare(name, out / name, Ranks(layout))
        compare("alone, then cp", out / "stopped-alone-0", Ranks(TWO["cp"]))
        if number == 0:
            dist.destroy_process_group()
            compare("fsdp, then alone", out / "stopped", ALONE)
    else:
        for name, layout in FOUR.items():
            tied = layout.pp == 1
            compare(name, out / name, Ranks(layout), TIED if tied else UNTIED)
    return found


def main(world: World, out: Path) -> None:
    found = {}
    for count in (2, 4):
        children = []
        for number in range(count):
            child = os.fork()
            if child == 0:
                torch.set_num_threads(1)
                made = one_rank(number, count, world, out)
                if number == 0:
                    (out / f"{count}.json").write_text(json.dumps(made))
                sys.stdout.flush()
                os._exit(0)
            children.append(child)
        for child in children:
            _, status = os.waitpid(child, 0)
            assert status == 0, f"a rank of {count} failed"
        found[count] = json.loads((out / f"{count}.json").read_text())
    (out / "results.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(World.at(Path(sys.argv[1])), Path(sys.argv[2]))
