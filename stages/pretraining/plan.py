"""Plans the pretraining of the flagship on a cluster (3.3), from the parameters of a scale.

Reads parameters only, and the members' sizes if there is a fit; trains nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from stages.infrastructure.plan_tables import summary_table
from stages.infrastructure.planner import Phase, PlannedCluster, PlanRequest, plan_training
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
    plan: Annotated[PlannedCluster, "plan"]
    reliability: Annotated[Reliability, "reliability"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """herd -> no outputs; the plan is in the metrics."""
    plan = make_plan(config, inputs["herd"])
    context.table("plan", plan["table"])
    return plan


def make_plan(config: Config, herd: Path | None = None, dimensions: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The plan and its summary table. The sizes are those of `herd`, the file that the fit writes, or of the ladder;
    `dimensions` replaces the [TP, CP, PP, DP] of all phases."""
    request = make_request(config, herd)
    if dimensions is not None:
        request = replace(request, cluster=request.cluster.with_dimensions(dimensions, request.model))
    plan = plan_training(request)
    return plan | {"table": summary_table(plan)}


def make_request(config: Config, herd: Path | None) -> PlanRequest:
    members, source = member_sizes(config, herd)
    model, tokens = members["flagship"]
    other = {name: training_flops(size.parameters, drawn) for name, (size, drawn) in members.items()}
    del other["flagship"]
    other["sweep"] = sum(budget.flops * len(budget.rungs) for budget in config.sweep.budgets)
    return PlanRequest(
        config.scale,
        model,
        tokens,
        source,
        list(planned_phases(config, tokens)),
        config.plan,
        config.reliability,
        config.training.precision,
        config.training.micro_tokens,
        config.training.checkpoint_seconds,
        other,
    )


def member_sizes(config: Config, herd: Path | None) -> tuple[dict[str, tuple[LlamaConfig, float]], str]:
    """Shape and tokens of each member, and the origin of the sizes."""
    if herd is not None:
        try:
            members = json.loads(herd.read_text())["members"]
            fitted = {name: (LlamaConfig(**each["config"]), float(each["tokens"])) for name, each in members.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError(f"{herd}: not a herd file of `dvc repro fit` ({error!r})") from None
        return fitted, f"fitted: {herd}"
    ladder = [config.architecture.config(shape, config.tokenizer.vocab_size) for shape in config.ladder]
    if config.plan.rung >= len(ladder):
        raise StageError(f"plan.rung: {config.plan.rung} is not on the ladder, whose last rung is {len(ladder) - 1}")
    chosen = choose_sizes(ladder, ladder[config.plan.rung].parameters, config.herd)
    tokens = tokens_for(config.herd.flagship_flops, chosen["flagship"].parameters)
    source = f"rung {config.plan.rung} of the ladder (plan.rung); a fit replaces it"
    return {name: (size, tokens) for name, size in chosen.items()}, source


def planned_phases(config: Config, tokens: float) -> Iterator[Phase]:
    """The phases of pretraining in order (3.4), with one segment per long-context length."""
    shared = config.pretraining
    for number, ramp in enumerate(config.initial.ramp, start=1):
        yield Phase(f"initial {number}", ramp.length, ramp.batch_tokens, tokens * shared.initial * ramp.share)
    for length in config.long_context.lengths:
        drawn = tokens * shared.long_context / len(config.long_context.lengths)
        yield Phase(f"long context {length:,}", length, shared.batch_tokens, drawn)
    yield Phase("annealing", shared.length, shared.batch_tokens, tokens * shared.annealing)
