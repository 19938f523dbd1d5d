"""The plan of a run on its cluster (3.3), from the parameters of its scale: what pretraining the flagship will take.

Nothing is trained: it reads parameters, and the members' sizes where a fit has been made.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from stages.infrastructure.plan_tables import table
from stages.infrastructure.planner import Job, Phase, Plan, make
from stages.infrastructure.reliability import Reliability
from stages.interface import Context, Metrics, Paths, StageError
from stages.model.llama import LlamaConfig
from stages.pretraining.initial import Initial
from stages.pretraining.long_context import LongContext
from stages.pretraining.phase import Pretraining
from stages.scaling.fit import Herd, choose_sizes
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.isoflops import Sweep
from stages.scaling.ladder import Architecture, Ladder
from stages.tokenizer.train import TokenizerTraining
from stages.training.parameters import Training


@dataclass(frozen=True)
class Config:
    scale: Annotated[str, "scale"]
    training: Annotated[Training, "training"]
    tokenizer: Annotated[TokenizerTraining, "tokenizer"]
    architecture: Annotated[Architecture, "architecture"]
    ladder: Annotated[Ladder, "ladder"]
    sweep: Annotated[Sweep, "scaling.isoflops"]
    herd: Annotated[Herd, "herd"]
    pretraining: Annotated[Pretraining, "pretraining.shared"]
    initial: Annotated[Initial, "pretraining.initial"]
    long_context: Annotated[LongContext, "pretraining.long_context"]
    plan: Annotated[Plan, "plan"]
    reliability: Annotated[Reliability, "reliability"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """herd -> the plan, as metrics."""
    found = plan(config, inputs["herd"])
    context.table("plan", found["table"])
    return found


def plan(config: Config, herd: Path | None = None, dimensions: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The plan and its table; sizes from `herd`, as the fit wrote it, or from the ladder; [TP, CP, PP, DP] of every
    phase from `dimensions`, or from the parameters."""
    asked = job(config, herd)
    if dimensions is not None:
        asked = replace(asked, plan=asked.plan.spread(dimensions, asked.model))
    found = make(asked)
    return found | {"table": table(found)}


def job(config: Config, herd: Path | None) -> Job:
    members, source = sizes(config, herd)
    model, tokens = members["flagship"]
    other = {name: training_flops(size.parameters, drawn) for name, (size, drawn) in members.items()}
    del other["flagship"]
    other["sweep"] = sum(budget.flops * len(budget.rungs) for budget in config.sweep.budgets)
    return Job(
        config.scale,
        model,
        tokens,
        source,
        list(phases(config, tokens)),
        config.plan,
        config.reliability,
        config.training.precision,
        config.training.micro_tokens,
        config.training.checkpoint_seconds,
        other,
    )


def sizes(config: Config, herd: Path | None) -> tuple[dict[str, tuple[LlamaConfig, float]], str]:
    """Each member's shape and tokens, and where they come from."""
    if herd is not None:
        try:
            members = json.loads(herd.read_text())["members"]
            found = {name: (LlamaConfig(**one["config"]), float(one["tokens"])) for name, one in members.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError(f"{herd}: not a herd as `dvc repro fit` writes it ({error!r})") from None
        return found, f"fitted: {herd}"
    ladder = [config.architecture.config(shape, config.tokenizer.vocab_size) for shape in config.ladder]
    if config.plan.rung >= len(ladder):
        raise StageError(f"plan.rung: {config.plan.rung} is not on the ladder, whose last rung is {len(ladder) - 1}")
    chosen = choose_sizes(ladder, ladder[config.plan.rung].parameters, config.herd)
    tokens = tokens_for(config.herd.flagship_flops, chosen["flagship"].parameters)
    source = f"rung {config.plan.rung} of the ladder (plan.rung); a run's fit decides anew"
    return {name: (size, tokens) for name, size in chosen.items()}, source


def phases(config: Config, tokens: float) -> Iterator[Phase]:
    """Pretraining from its first to its last step (3.4), each length of the long context taken once."""
    shared = config.pretraining
    for number, ramp in enumerate(config.initial.ramp, start=1):
        yield Phase(f"initial {number}", ramp.length, ramp.batch_tokens, tokens * shared.initial * ramp.share)
    for length in config.long_context.lengths:
        drawn = tokens * shared.long_context / len(config.long_context.lengths)
        yield Phase(f"long context {length:,}", length, shared.batch_tokens, drawn)
    yield Phase("annealing", shared.length, shared.batch_tokens, tokens * shared.annealing)
