"""Runs every stage that ranks train on one process and in a process group of two (gloo).

    python -m tests.flows.ranked WORLD OUT

OUT/results.json then holds each run's curve and metrics, and how far its model ends from that of one process. One
process imports torch and forks the ranks, before it has computed anything itself.
"""

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import distributed as dist
from torch.distributed import elastic  # noqa: F401  imported before the fork, once
from torch.distributed.checkpoint import filesystem  # noqa: F401

from stages.distributed.layout import Layout
from stages.distributed.parallel_strategy import ParallelStrategy
from stages.distributed.single_process import ReshardingSingleProcess
from stages.interface import StageError
from stages.model.files import save_model
from stages.model.llama import Llama
from stages.posttraining import dpo, reward, sft
from stages.posttraining.respond import Sampling
from stages.posttraining.sequences import MicroBatcher, PairBatch, pad, tokenize_dialog
from stages.pretraining import annealing, initial, long_context
from stages.safety import tuning as safety
from stages.tasks.example import Example
from stages.training.checkpoint import Average, TrainingState
from tests.fixtures import (
    LEARNING_RATE,
    MIX,
    PRETRAINING,
    World,
    change,
    settings,
    shape,
    sharp,
    tuning,
    write_posttraining,
)
from tests.recorder import Recorder

# Adam divides by the gradient's size: eps keeps it from blowing rounding up where a gradient is next to nothing.
SINGLE_PROCESS = ReshardingSingleProcess()
TRAINING = settings(eps=1e-4, clip=0.5)
SAVING = change(TRAINING, checkpoint_seconds=1e-9)
STOP = 3
"""A run that is to be stopped comes so far."""
DPO = dpo.DPO(beta=0.1, nll=0.2, mask_formatting=True, tuning=tuning(batch=5, rates=[1e-2, 5e-3]))
PHASE = (MIX, TRAINING, LEARNING_RATE, PRETRAINING)
STAGES: dict[str, tuple[Any, Any]] = {
    "pretraining.initial": (
        initial,
        initial.Config(
            1,
            *PHASE,
            initial.Initial.model_validate(
                {"warmup_share": 0.2, "floor": 0.1, "ramp": [{"share": 1, "length": 32, "batch_tokens": 128}]}
            ),
        ),
    ),
    "pretraining.long_context": (
        long_context,
        long_context.Config(
            1,
            *PHASE,
            long_context.LongContext(
                rate=0.3, lengths=[48, 64], segments=1, loss_tolerance=100, needle_threshold=0, needles=1
            ),
        ),
    ),
    "pretraining.annealing": (
        annealing,
        annealing.Config(1, *PHASE, annealing.Annealing(start=0.5, mix=MIX, checkpoints=2, control=True)),
    ),
    "posttraining.sft": (sft, sft.Config(1, TRAINING, tuning(batch=7, rates=[1e-2, 5e-3]))),
    "posttraining.dpo": (dpo, dpo.Config(1, TRAINING, DPO)),
    "posttraining.reward": (
        reward,
        reward.Config(
            1, TRAINING, reward.Reward(start="base", tuning=tuning(batch=5, rates=[3e-3, 2e-3]), held_out=0.25)
        ),
    ),
    "safety.tuning": (
        safety,
        safety.Config(
            1,
            TRAINING,
            Sampling(max_new_tokens=8, batch=64),
            safety.SafetyTuning(
                prompts=6,
                helpful=0.5,
                compared=6,
                answers=2,
                sft=tuning(steps=2),
                dpo=change(DPO, tuning=tuning(steps=2)),
            ),
        ),
    ),
}
"""Each of DISTRIBUTED_STAGES with parameters; batches of post-training are no multiple of two ranks."""
TUNED = ("posttraining.sft", "posttraining.dpo", "posttraining.reward")
LAYOUTS = {"tp": Layout(tp=2), "cp": Layout(cp=2), "pp": Layout(pp=2)}


class Stopped(Exception):
    """The run was to go no further."""


class Stopping(Recorder):
    """Ends a run before step STOP + 1 is saved, on every rank."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step > STOP:
            raise Stopped


def run(stage: str, inputs: dict[str, Path], out: Path, strategy: Any = SINGLE_PROCESS, **other: Any) -> dict[str, Any]:
    """Curve, metrics and weights that a stage leaves in `out`; `other`: scratch, training, and the kind of context."""
    module, config = STAGES[stage]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    context = other.get("kind", Recorder)(other.get("scratch", out / "scratch"), member="flagship")
    context.strategy = strategy
    config = type(config)(**(vars(config) | {"training": other.get("training", TRAINING)}))
    metrics = module.run(config, inputs, {"model": out / "model", "curve": out / "curve.csv"}, context)
    curve = list(csv.DictReader((out / "curve.csv").open())) if (out / "curve.csv").exists() else []
    rows = [{name: float(value) for name, value in row.items()} for row in curve]
    model = out / "model/model.safetensors"
    assert model.exists() == (not dist.is_initialized() or dist.get_rank() == 0)  # who writes
    return {
        "notes": context.notes,
        "curve": rows,
        "metrics": metrics,
        "weights": dict(item for path in (out / "model").glob("*.safetensors") for item in load_file(path).items()),
    }


def one_rank(number: int, world: World, untied: Path, data: Path, out: Path) -> dict[str, Any]:
    """All that rank `number` of two does; returns what it found."""
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=number, world_size=2)
    mine = out / str(number)
    inputs = world.pretraining_inputs | {
        "policy": world.model,
        "base": world.model,
        "demonstrations": data,
        "preferences": data,
    }
    found: dict[str, Any] = {}

    def compare(name: str, alone: dict[str, Any] | None, made: dict[str, Any]) -> None:
        """Only the first rank has what one process made."""
        if alone is not None:
            for how, result in (("alone", alone), ("ranks", made)):
                found[f"{name}: {how}"] = {part: result[part] for part in ("curve", "metrics")}
            found[f"{name}: notes"] = made["notes"]
            assert made["weights"].keys() == alone["weights"].keys()
            differences = [(made["weights"][key] - value).abs().max() for key, value in alone["weights"].items()]
            found[f"{name}: weights"] = float(max(differences))

    data_parallel = ParallelStrategy(Layout(dp=2))
    alone = {}
    for stage in STAGES:
        if stage == "pretraining.long_context":  # goes on where initial pretraining has left off
            dist.barrier()
            inputs["model"] = out / "0/alone/pretraining.initial/model"
        alone[stage] = run(stage, inputs, mine / "alone" / stage) if number == 0 else None
        compare(
            stage,
            alone[stage],
            run(stage, inputs, mine / "ranks" / stage, data_parallel, scratch=out / "scratch" / stage),
        )
    for stage in TUNED:
        scratch = out / "stopped" / stage
        stopped = {"kind": Stopping, "training": SAVING, "scratch": scratch}
        if number == 0:
            _stopped(stage, inputs, mine / "stopped", SINGLE_PROCESS, **stopped)
        dist.barrier()
        _stopped(stage, inputs, mine / "stopped", data_parallel, **stopped | {"scratch": scratch / "ranks"})
        made = run(stage, inputs, mine / "continued", data_parallel, scratch=scratch)
        compare(f"{stage}, from one process", alone[stage], made)
    tied, inputs["policy"] = dict(inputs), untied
    untied_alone = {
        stage: run(stage, inputs, mine / "alone/untied") if number == 0 else None for stage in (*TUNED, "safety.tuning")
    }
    for name, layout in LAYOUTS.items():
        for stage, expected in untied_alone.items():
            made = run(stage, inputs, mine / name, ParallelStrategy(layout), scratch=out / "scratch" / name / stage)
            compare(f"{stage}, {name}", expected, made)
    found["idle: refused"] = refusal(lambda: MicroBatcher(100, number, 2)(pair_of(world)))
    found["other data: refused"] = refusal(
        lambda: data_parallel.load_checkpoint(
            TrainingState(torch.nn.Linear(1, 1), None, Average(), str(number)), out / "nothing", print
        )
    )  # type: ignore[arg-type]
    dist.destroy_process_group()  # one process has none
    for stage in TUNED if number == 0 else ():
        made = run(stage, tied, mine / "continued", scratch=out / "stopped" / stage / "ranks")
        compare(f"{stage}, from ranks", alone[stage], made)
    return found


def refusal(work: Callable[[], object]) -> str:
    """What the StageError says that this raises."""
    try:
        work()
    except StageError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def pair_of(world: World) -> PairBatch:
    """A micro-batch of one pair."""
    return PairBatch(
        **vars(pad([tokenize_dialog(world.chat, "1 + 1", answer) for answer in ("2", "3")], world.chat.pad))
    )


def pair_all(examples: Sequence[Example], responses: Sequence[str]) -> list[dpo.Pair]:
    """Replaces safety's `make_pairs`: no response of a model as small as this one is a violation."""
    return [(e.prompt, e.answer, response) for e, response in zip(examples, responses, strict=True)]


def _stopped(stage: str, inputs: dict[str, Path], out: Path, strategy: Any, **other: Any) -> None:
    try:
        run(stage, inputs, out, strategy, **other)
    except Stopped:
        return
    raise AssertionError(f"{stage} was not stopped")


def main(world: World, out: Path) -> None:
    data, untied = out / "data", out / "untied"
    data.mkdir()
    write_posttraining(data)
    save_model(sharp(Llama(shape(tie_word_embeddings=False)).init_weights(2), 2.0), untied, world.tokenizer, 32)
    assert callable(safety.make_pairs)
    safety.make_pairs = pair_all
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            made = one_rank(number, world, untied, data, out)
            if number == 0:
                (out / "results.json").write_text(json.dumps(made))
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, "a rank failed"


if __name__ == "__main__":
    main(World.at(Path(sys.argv[1])), Path(sys.argv[2]))
