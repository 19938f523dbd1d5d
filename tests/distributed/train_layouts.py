"""Trains a model in a single process and, in process groups on this machine (gloo), at every kind of layout.

    python -m tests.distributed.train_layouts WORLD OUT

OUT/results.json then holds each run's history and the distance of its weights from those of the single process. One
process imports torch and forks the ranks before it computes anything itself.
"""

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed import elastic  # noqa: F401  imported before the fork, once
from torch.distributed.checkpoint import filesystem

from stages.distributed.layout import Layout
from stages.distributed.parallel_strategy import ParallelStrategy
from stages.distributed.single_process import ReshardingSingleProcess
from stages.interface import StageError
from stages.model.llama import Llama
from stages.pretraining.needles import count_wrong_tokens, make_answer_batch
from stages.training.language_modelling import MixtureBatches, held_out_losses, next_token_loss, validation_mixture
from stages.training.loader import Mixture, TokenBatch
from stages.training.loop import train
from stages.training.schedule import Schedule
from tests.fixtures import MIX, World, change, settings, shape, sharp
from tests.recorder import Recorder

LENGTH, SIZE, STEPS, STOP = 128, 9, 5, 3  # two data-parallel ranks have 5 and 4 sequences
# Adam divides by the gradient's magnitude: eps keeps it from amplifying rounding where gradients are near zero.
TRAINING = settings(eps=1e-4, clip=0.5, micro_tokens=2 * LENGTH)
SINGLE_PROCESS = ReshardingSingleProcess()
UNTIED = shape(num_hidden_layers=4, tie_word_embeddings=False)
TIED = shape(num_hidden_layers=4)
TWO = {"fsdp": Layout(dp=2), "tp": Layout(tp=2), "cp": Layout(cp=2), "pp": Layout(pp=2, virtual_stages=2)}
FOUR = {
    "tp x fsdp": Layout(tp=2, dp=2, recompute="elementwise"),
    "pp x cp": Layout(pp=2, cp=2, shorter_ends=1, recompute="selective"),
    "pp x fsdp": Layout(pp=2, dp=2, virtual_stages=2),
}


class Stopped(Exception):
    """Ends a run early."""


class Stopping:
    """Batches that stop the run before step `at`, on every rank."""

    few_shapes = True

    def __init__(self, batches: MixtureBatches, at: int) -> None:
        self.batches, self.at, self.fingerprint = batches, at, batches.fingerprint

    def for_rank(self, *place: int) -> "Stopping":
        return Stopping(self.batches.for_rank(*place), self.at)

    def __call__(self, step: int) -> list[TokenBatch]:
        if step == self.at:
            raise Stopped
        return list(self.batches(step))


def run(
    world: World, scratch: Path, strategy: Any = SINGLE_PROCESS, config: Any = UNTIED, stop: int = STEPS
) -> dict[str, Any]:
    """Trains; returns notes, history, weights, averaged weights and optimizer state."""
    model = Llama(config).init_weights(1)
    training = TRAINING if stop == STEPS else change(TRAINING, checkpoint_seconds=1e-9)
    mixture = Mixture(world.shards, "train", MIX.shares(), LENGTH, 1)
    context = Recorder(scratch)
    context.strategy = strategy
    try:
        history, average, optimizer_state = train(
            model,
            Stopping(MixtureBatches(mixture, SIZE, TRAINING.micro_tokens), stop),
            next_token_loss,
            Schedule(1e-2, STEPS, 1),
            training,
            scratch=scratch,
            context=context,
            title="test",
            average_at=[2, STEPS],
            return_optimizer_state=True,
        )
    except Stopped:
        return {}
    batches = MixtureBatches(mixture, SIZE, TRAINING.micro_tokens, first_sample=STEPS * SIZE)
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    more, *_ = train(
        model,
        batches,
        next_token_loss,
        Schedule(1e-3, 2),
        training,
        scratch=scratch / "more",
        context=context,
        title="more",
        optimizer_state=optimizer_state,
    )
    return {
        "notes": context.notes,
        "more": [row["loss"] for row in more],
        "moments": dict(optimizer_state),
        "history": history,
        "weights": weights,
        "average": average.mean,
    }


def damage(scratch: Path, wanted: bool) -> None:
    """Flips a bit in the newest checkpoint of a run if `wanted`."""
    path = scratch / f"sharded-{STOP:09d}" / "__1_0.distcp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= wanted
    path.write_bytes(content)


def run_on_a_full_disk(world: World, scratch: Path, number: int) -> dict[str, Any]:
    """The error and the remaining files if the second of two ranks cannot write its second checkpoint."""
    left = iter([False, True])

    def write(*arguments: Any) -> Any:
        if number == 1 and next(left):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(*arguments)

    written, filesystem.FileSystemWriter.write_data = filesystem.FileSystemWriter.write_data, write
    try:
        run(world, scratch, ParallelStrategy(TWO["fsdp"]), stop=STOP)
    except StageError as error:
        said = str(error)
    filesystem.FileSystemWriter.write_data = written
    dist.barrier()
    return {"said": said, "left": sorted(path.name for path in scratch.iterdir())}


def evaluate_untrained(world: World, strategy: Any, config: Any) -> dict[str, list[float]]:
    """Evaluates an untrained model: the loss of each held-out window, and the wrong tokens of each text."""
    model = sharp(Llama(config).init_weights(1))
    windows = [validation_mixture(world.shards, shares, LENGTH, 1) for shares in (MIX.shares(), {"code": 1.0})]
    losses = held_out_losses(model, windows, 5, TRAINING, strategy)
    texts = [torch.arange(number, number + 40 + number).tolist() for number in range(5)]
    batches = [make_answer_batch([(text[:30], text[30:]) for text in part], 0) for part in (texts[:3], texts[3:])]
    wrong = strategy.evaluate(model, batches, lambda *both: count_wrong_tokens(*both, torch.arange(100)), TRAINING)
    return {"losses": [loss for each in losses for loss in each.tolist()], "misses": wrong.tolist()}


def max_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def one_rank(number: int, count: int, world: World, out: Path) -> dict[str, Any]:
    """The work of rank `number` of `count`; returns its results."""
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting-{count}", rank=number, world_size=count)
    alone = {
        config: run(world, out / f"{count}-{number}-{config.tie_word_embeddings}", config=config)
        for config in (UNTIED, TIED)
    }
    found: dict[str, Any] = {"alone": alone[UNTIED]["history"], "alone, tied": alone[TIED]["history"]}
    found |= {"alone: more": alone[UNTIED]["more"], "alone, tied: more": alone[TIED]["more"]}
    found |= {
        "alone: measured": evaluate_untrained(world, SINGLE_PROCESS, UNTIED),
        "alone, tied: measured": evaluate_untrained(world, SINGLE_PROCESS, TIED),
    }

    def compare(name: str, scratch: Path, strategy: Any, config: Any = UNTIED) -> None:
        result = run(world, scratch, strategy, config)
        found[name], found[f"{name}: notes"] = result["history"], result["notes"]
        found[f"{name}: measured"] = evaluate_untrained(world, strategy, config)
        found[f"{name}: more"] = result["more"]
        for kind in ("weights", "average", "moments"):
            found[f"{name}: {kind}"] = max_difference(result[kind], alone[config][kind])

    if count == 2:
        for name, layout in TWO.items():
            compare(name, out / name, ParallelStrategy(layout))
        run(world, out / "stopped", ParallelStrategy(TWO["fsdp"]), stop=STOP)
        run(world, out / f"stopped-alone-{number}", stop=STOP)
        for name, layout in {"fsdp, then tp": Layout(tp=2, recompute="full"), "fsdp, then pp": TWO["pp"]}.items():
            if number == 0:
                shutil.copytree(out / "stopped", out / name)
                damage(out / name, layout.pp > 1)
            dist.barrier()
            compare(name, out / name, ParallelStrategy(layout))
        run(world, out / "stopped-alone-0", ParallelStrategy(TWO["pp"]), stop=STOP + 1)
        compare("alone, then pp, then cp", out / "stopped-alone-0", ParallelStrategy(TWO["cp"]))
        found["full"] = run_on_a_full_disk(world, out / "full", number)
        if number == 0:
            dist.destroy_process_group()
            compare("fsdp, then alone", out / "stopped", SINGLE_PROCESS)
    else:
        for name, layout in FOUR.items():
            tied = layout.pp == 1
            compare(name, out / name, ParallelStrategy(layout), TIED if tied else UNTIED)
    return found


def main(world: World, out: Path) -> None:
    found = {}
    for count in (2, 4):
        children = []
        for number in range(count):
            child = os.fork()
            if child == 0:
                torch.set_num_threads(1)
                result = one_rank(number, count, world, out)
                if number == 0:
                    (out / f"{count}.json").write_text(json.dumps(result))
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
