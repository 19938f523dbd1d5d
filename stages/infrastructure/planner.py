"""What training a model on a cluster takes (3.3): steps, memory of a rank, time, energy, checkpoints, storage.

Plain arithmetic on parameters: nothing is built, no device is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from stages.distributed.layout import Layout
from stages.infrastructure.layout_search import Work, balanced, problems
from stages.infrastructure.memory_model import Kernels, Memory, rank_memory
from stages.infrastructure.reliability import MINUTES, Reliability, effective
from stages.infrastructure.step_time import Option, Speeds, best, per_device, step_time
from stages.infrastructure.storage import stalls, volumes
from stages.interface import Section, StageError
from stages.model.llama import LlamaConfig
from stages.scaling.flops import training_flops


class PlannedLayout(Layout):
    """The layout for sequences of up to `length` tokens; the rest is as in `cluster.layout`."""

    length: int = Field(gt=0)
    """Longest sequence that it is for, in tokens (paper Table 4: 8,192 and 131,072)."""


class Plan(Section):
    """The cluster that a run is planned for."""

    rung: int = Field(ge=2)
    """Rung of the ladder, from 0, that is the flagship where no fit says it (paper Table 3 at the paper's scales)."""
    devices: int = Field(gt=0)
    """Devices (paper 3.3.1: up to 16,384 H100; elsewhere assumption)."""
    devices_per_node: int = Field(gt=0)
    """Devices that NVLink connects (paper 3.3.1: 8)."""
    memory_gb: float = Field(gt=0)
    """Memory of a device, in 10^9 bytes (paper 3.3.1: 80)."""
    tflops: float = Field(gt=0)
    """Peak of a device in the products' type, in 10^12 FLOP/s (the vendor's figure for the paper's H100: 989)."""
    mfu: float = Field(gt=0, lt=1)
    """Model FLOPs utilization that the days are counted with (paper Table 4: 0.38 to 0.43; elsewhere assumption)."""
    efficiency: float = Field(gt=0, le=1)
    """Share of the peak that kernels reach while nothing is waited for, for the modelled step (assumption: with 0.55
    the first row of Table 4 comes out)."""
    watts: float = Field(gt=0)
    """Power of a device (paper 3.3.1: 700); hosts, network and cooling come on top."""
    node_gb_per_second: float = Field(gt=0)
    """Bandwidth inside a node per device and direction, in 10^9 bytes (assumption: NVLink's 450)."""
    network_gb_per_second: float = Field(gt=0)
    """Bandwidth between nodes per device and direction (paper 3.3.1: 400 Gbps, 50)."""
    storage_gb_per_second: float = Field(gt=0)
    """What the storage takes in all, sustained (paper 3.3.1: 2,000)."""
    storage_peak_gb_per_second: float = Field(gt=0)
    """What it takes at its peak (paper 3.3.1: 7,000)."""
    kernels: Kernels
    """eager: this project's model on a CPU; fused: flash attention and a bfloat16 stream (assumption for a cluster)."""
    layouts: list[PlannedLayout] = Field(min_length=1)
    """Layouts by sequence length, ascending (paper Table 4; V is not given, 8 is a layer per stage: assumption; no
    activation checkpointing at 8K, selective is what fits beside the buffers of torch's pipeline: assumption)."""
    bytes_per_token: float = Field(gt=0)
    """Bytes of text per token (paper 3.2: 3.94 characters)."""
    kept_share: float = Field(gt=0)
    """Bytes of text that curation leaves of a byte of compressed WARC (assumption)."""

    @model_validator(mode="after")
    def _ascend(self) -> "Plan":
        lengths = [layout.length for layout in self.layouts]
        if lengths != sorted(set(lengths)):
            raise ValueError("the lengths of the layouts must ascend")
        return self

    @property
    def speeds(self) -> Speeds:
        return Speeds(
            1e12 * self.tflops, self.efficiency, 1e9 * self.node_gb_per_second, 1e9 * self.network_gb_per_second
        )

    def spread(self, dimensions: Mapping[str, int], model: LlamaConfig) -> "Plan":
        """The plan with these [TP, CP, PP, DP] at every length."""
        layouts = [balanced(layout.model_copy(update=dimensions), model) for layout in self.layouts]
        return self.model_copy(update={"layouts": layouts})

    def layout_for(self, length: int) -> Layout:
        """The layout for sequences of `length`; raises StageError where none is long enough."""
        for layout in self.layouts:
            if length <= layout.length:
                return layout
        raise StageError(
            f"plan.layouts: none is for {length:,} tokens, the longest is for {self.layouts[-1].length:,}; add one"
        )


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one sequence length and batch."""

    name: str
    length: int
    batch_tokens: int
    tokens: float


@dataclass(frozen=True)
class Job:
    """All that a plan is made from."""

    scale: str
    model: LlamaConfig
    tokens: float
    source: str
    """Where the size comes from."""
    phases: Sequence[Phase]
    plan: Plan
    reliability: Reliability
    precision: Literal["bf16", "fp32"]
    micro_tokens: int
    """Tokens that a device computes at once."""
    checkpoint_seconds: float
    other_flops: Mapping[str, float]
    """Training FLOPs beside the flagship's, by what they are for."""


def make(job: Job) -> dict[str, Any]:
    """The plan as JSON values; see docs/planning.md for each."""
    plan, model = job.plan, job.model
    flops = training_flops(model.parameters, job.tokens)
    seconds = flops / (plan.devices * 1e12 * plan.tflops * plan.mfu)
    phases = [plan_phase(job, phase) for phase in job.phases]
    options = job.reliability.model_copy(
        update={
            "gpus": plan.devices,
            "parameters": float(model.parameters),
            "days": seconds / 86_400,
            "storage_bytes_per_second": 1e9 * plan.storage_gb_per_second,
            "checkpoint_minutes": job.checkpoint_seconds / 60,
        }
    )
    useful = effective(options.rate, options.checkpoint_minutes * MINUTES, options.write_days, options.down_days)
    speeds = {"sustained": 1e9 * plan.storage_gb_per_second, "peak": 1e9 * plan.storage_peak_gb_per_second}
    checkpoint = stalls(options, speeds)
    modelled = sum(phase["steps"] * phase["step_seconds"] for phase in phases)
    return {
        "scale": job.scale,
        "source": job.source,
        "model": model.to_json() | {"parameters": model.parameters, "body_parameters": model.body_parameters},
        "tokens": job.tokens,
        "flops": flops,
        "other_flops": dict(job.other_flops),
        "steps": sum(phase["steps"] for phase in phases),
        "phases": phases,
        "fits": all(phase["memory"]["total"] <= 1e9 * plan.memory_gb for phase in phases),
        "problems": gather(phases),
        "cluster": {
            "devices": plan.devices,
            "memory": 1e9 * plan.memory_gb,
            "peak": 1e12 * plan.tflops,
            "watts": plan.watts,
            "mfu": plan.mfu,
            "efficiency": plan.efficiency,
        },
        "device_hours": plan.devices * seconds / 3600,
        "days": seconds / 86_400,
        "modelled_days": modelled / 86_400,
        "modelled_mfu": flops / (plan.devices * 1e12 * plan.tflops * modelled),
        "interruptions_per_day": options.rate,
        "effective_time": useful,
        "elapsed_days": seconds / 86_400 / useful,
        "energy_mwh": plan.devices * plan.watts * seconds / useful / 3600 / 1e6,
        "checkpoint": checkpoint,
        "storage": volumes(job.tokens, model.vocab_size, plan.bytes_per_token, plan.kept_share, checkpoint["bytes"]),
        "best_layouts": proposals(job),
    }


def plan_phase(job: Job, phase: Phase) -> dict[str, Any]:
    """Steps, memory and step time of a phase. The batch is what the parameters ask for, less what does not divide among
    the data-parallel ranks."""
    plan = job.plan
    layout = plan.layout_for(phase.length)
    work = work_of(job, phase, layout)
    memory = memory_of(job)
    asked = max(1, phase.batch_tokens // phase.length)
    kinds = rank_memory(job.model, layout, work, memory)
    timing = step_time(job.model, layout, work, plan.speeds, devices_per_node=plan.devices_per_node)
    found = problems(layout, job.model, work, devices=plan.devices, devices_per_node=plan.devices_per_node)
    if kinds["total"] > 1e9 * plan.memory_gb:
        found.append(f"memory: {kinds['total'] / 1e9:.1f} GB are above the limit of {plan.memory_gb:g} GB")
    return {
        "name": phase.name,
        "length": phase.length,
        "tokens": phase.tokens,
        "sequences": work.sequences,
        "sequences_asked": asked,
        "steps": max(1, round(phase.tokens / work.tokens)),
        "layout": layout.dimensions,
        "virtual": layout.virtual_stages,
        "recompute": layout.recompute,
        "micro_batches": work.micro_batches(layout),
        "micro_sequences": work.micro,
        "memory": kinds,
        "problems": found,
        "bubble": layout.bubble(work.micro_batches(layout)),
        "step_seconds": timing.total,
        "device_flops": per_device(job.model, work, layout, timing.total),
    }


def gather(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each problem once, with the phases that have it."""
    found: dict[str, list[str]] = {}
    for phase in phases:
        for problem in phase["problems"]:
            found.setdefault(problem, []).append(phase["name"])
    return [
        f"{'every phase' if len(names) == len(phases) else ', '.join(names)}: {problem}"
        for problem, names in found.items()
    ]


def work_of(job: Job, phase: Phase, layout: Layout) -> Work:
    """The phase's step, with as many sequences at once as `micro_tokens` lets a device hold."""
    asked = max(1, phase.batch_tokens // phase.length)
    each = asked // layout.dp
    if each == 0:
        return Work(phase.length, asked)
    most = max(1, job.micro_tokens * layout.cp // phase.length)
    micro = max(size for size in range(1, min(most, each) + 1) if each % size == 0)
    return Work(phase.length, each * layout.dp, micro)


def memory_of(job: Job) -> Memory:
    return Memory(job.precision, job.plan.kernels)


def proposals(job: Job, most: int = 5) -> list[dict[str, Any]]:
    """The best layouts by modelled step time, for the phase of most tokens and for the one of the longest sequences."""
    largest = max(job.phases, key=lambda phase: phase.tokens)
    longest = max(job.phases, key=lambda phase: (phase.length, phase.tokens))
    found = []
    for phase in dict.fromkeys((largest, longest)):
        for option in feasible(job, phase, most):
            found.append(
                {
                    "phase": phase.name,
                    "length": phase.length,
                    "layout": option.layout.dimensions,
                    "virtual": option.layout.virtual_stages,
                    "step_seconds": option.seconds,
                    "bytes": option.bytes,
                }
            )
    return found


def feasible(job: Job, phase: Phase, most: int) -> list[Option]:
    """The quickest layouts that fit for a phase."""
    plan = job.plan
    work = Work(phase.length, max(1, phase.batch_tokens // phase.length))
    return best(
        job.model,
        work,
        plan.speeds,
        memory_of(job),
        devices=plan.devices,
        devices_per_node=plan.devices_per_node,
        limit=1e9 * plan.memory_gb,
        recompute=plan.layout_for(phase.length).recompute,
        most=most,
    )
