"""The cost of training a model on a cluster (3.3): steps, memory per rank, time, energy, checkpoints, storage.

Arithmetic on parameters only: no model is built, no device is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from stages.distributed.layout import Layout
from stages.infrastructure.layout_search import ClusterSpec, Workload, balance_layout, find_problems
from stages.infrastructure.memory_model import Kernels, MemoryOptions, estimate_rank_memory
from stages.infrastructure.reliability import Reliability, effective_time
from stages.infrastructure.step_time import find_best_layouts, flops_per_device, step_time
from stages.infrastructure.storage import checkpoint_stalls, storage_volumes
from stages.interface import Section, StageError
from stages.model.llama import LlamaConfig
from stages.scaling.flops import training_flops
from stages.training.schedule import count_steps


class PlannedLayout(Layout):
    """The layout for sequences of up to `length` tokens; the other fields are those of `cluster.layout`."""

    length: int = Field(gt=0)
    """Longest sequence that the layout is used for, in tokens (paper Table 4: 8,192 and 131,072)."""


class PlannedCluster(Section):
    """The cluster that a run is planned for (parameters section `plan`)."""

    rung: int = Field(ge=2)
    """Rung of the ladder, from 0, of the flagship if there is no fit (paper Table 3 at the paper's scales)."""
    devices: int = Field(gt=0)
    """Devices (paper 3.3.1: up to 16,384 H100; elsewhere assumption)."""
    devices_per_node: int = Field(gt=0)
    """Devices that NVLink connects (paper 3.3.1: 8)."""
    memory_gb: float = Field(gt=0)
    """Memory of a device, in 10^9 bytes (paper 3.3.1: 80)."""
    tflops: float = Field(gt=0)
    """Peak matmul speed of a device, in 10^12 FLOP/s (the vendor's figure for the paper's H100: 989)."""
    mfu: float = Field(gt=0, lt=1)
    """Model FLOPs utilization assumed for the training time (paper Table 4: 0.38 to 0.43; elsewhere assumption)."""
    efficiency: float = Field(gt=0, le=1)
    """Share of the peak that kernels reach while they run, for the modelled step time (assumption: 0.55 reproduces the
    first row of Table 4)."""
    watts: float = Field(gt=0)
    """Power of a device (paper 3.3.1: 700), without hosts, network and cooling."""
    node_gb_per_second: float = Field(gt=0)
    """Bandwidth inside a node per device and direction, in 10^9 bytes (assumption: NVLink's 450)."""
    network_gb_per_second: float = Field(gt=0)
    """Bandwidth between nodes per device and direction (paper 3.3.1: 400 Gbps, 50)."""
    storage_gb_per_second: float = Field(gt=0)
    """Sustained write bandwidth of the storage (paper 3.3.1: 2,000)."""
    storage_peak_gb_per_second: float = Field(gt=0)
    """Peak write bandwidth of the storage (paper 3.3.1: 7,000)."""
    kernels: Kernels
    """eager: this project's model on a CPU; fused: flash attention and a bfloat16 stream (assumption for a cluster)."""
    layouts: list[PlannedLayout] = Field(min_length=1)
    """Layouts by sequence length, ascending (paper Table 4; assumptions: V is not given, 8 is one layer per stage; the
    paper has no activation checkpointing at 8K, with the buffers of torch's pipeline only `selective` fits)."""
    bytes_per_token: float = Field(gt=0)
    """Bytes of text per token (paper 3.2: 3.94 characters)."""
    kept_share: float = Field(gt=0)
    """Bytes of text that curation keeps per byte of compressed WARC (assumption)."""

    @model_validator(mode="after")
    def _check_ascending(self) -> "PlannedCluster":
        lengths = [layout.length for layout in self.layouts]
        if lengths != sorted(set(lengths)):
            raise ValueError("the lengths of the layouts must ascend")
        return self

    @property
    def spec(self) -> ClusterSpec:
        return ClusterSpec(
            devices=self.devices,
            devices_per_node=self.devices_per_node,
            memory=1e9 * self.memory_gb,
            peak_flops=1e12 * self.tflops,
            efficiency=self.efficiency,
            node_bandwidth=1e9 * self.node_gb_per_second,
            network_bandwidth=1e9 * self.network_gb_per_second,
        )

    def with_dimensions(self, dimensions: Mapping[str, int], model: LlamaConfig) -> "PlannedCluster":
        """A copy with these [TP, CP, PP, DP] at every length."""
        layouts = [balance_layout(layout.model_copy(update=dimensions), model) for layout in self.layouts]
        return self.model_copy(update={"layouts": layouts})

    def layout_for(self, length: int) -> Layout:
        """The layout for sequences of `length` tokens; raises StageError if there is none."""
        for layout in self.layouts:
            if length <= layout.length:
                return layout
        raise StageError(
            f"plan.layouts: no layout for {length:,} tokens, the longest is for {self.layouts[-1].length:,}; add one"
        )


@dataclass(frozen=True)
class Phase:
    """A part of training with one sequence length and batch size."""

    name: str
    length: int
    batch_tokens: int
    tokens: float


@dataclass(frozen=True)
class PlanRequest:
    """The inputs of a plan."""

    scale: str
    model: LlamaConfig
    tokens: float
    source: str
    """Origin of the model size."""
    phases: Sequence[Phase]
    cluster: PlannedCluster
    reliability: Reliability
    precision: Literal["bf16", "fp32"]
    micro_tokens: int
    """Tokens per micro-batch on a device."""
    checkpoint_seconds: float
    other_flops: Mapping[str, float]
    """Training FLOPs that are not the flagship's, by purpose."""

    @property
    def memory_options(self) -> MemoryOptions:
        return MemoryOptions(self.precision, self.cluster.kernels)


def plan_training(request: PlanRequest) -> dict[str, Any]:
    """The plan as JSON values; docs/planning.md explains them."""
    cluster, model = request.cluster, request.model
    flops = training_flops(model.parameters, request.tokens)
    seconds = flops / (cluster.devices * 1e12 * cluster.tflops * cluster.mfu)
    phases = [plan_phase(request, phase) for phase in request.phases]
    options = request.reliability.model_copy(
        update={
            "gpus": cluster.devices,
            "parameters": float(model.parameters),
            "days": seconds / 86_400,
            "storage_bytes_per_second": 1e9 * cluster.storage_gb_per_second,
            "checkpoint_minutes": request.checkpoint_seconds / 60,
        }
    )
    useful = effective_time(options.failure_rate, options.checkpoint_days, options.write_days, options.down_days)
    speeds = {"sustained": 1e9 * cluster.storage_gb_per_second, "peak": 1e9 * cluster.storage_peak_gb_per_second}
    checkpoint = checkpoint_stalls(options, speeds)
    storage = storage_volumes(
        request.tokens, model.vocab_size, cluster.bytes_per_token, cluster.kept_share, checkpoint["bytes"]
    )
    modelled = sum(phase["steps"] * phase["step_seconds"] for phase in phases)
    return {
        "scale": request.scale,
        "source": request.source,
        "model": model.to_json() | {"parameters": model.parameters, "body_parameters": model.body_parameters},
        "tokens": request.tokens,
        "flops": flops,
        "other_flops": dict(request.other_flops),
        "steps": sum(phase["steps"] for phase in phases),
        "phases": phases,
        "fits": all(phase["memory"]["total"] <= 1e9 * cluster.memory_gb for phase in phases),
        "problems": group_problems(phases),
        "cluster": {
            "devices": cluster.devices,
            "memory": 1e9 * cluster.memory_gb,
            "peak": 1e12 * cluster.tflops,
            "watts": cluster.watts,
            "mfu": cluster.mfu,
            "efficiency": cluster.efficiency,
        },
        "device_hours": cluster.devices * seconds / 3600,
        "days": seconds / 86_400,
        "modelled_days": modelled / 86_400,
        "modelled_mfu": flops / (cluster.devices * 1e12 * cluster.tflops * modelled),
        "interruptions_per_day": options.failure_rate,
        "effective_time": useful,
        "elapsed_days": seconds / 86_400 / useful,
        "energy_mwh": cluster.devices * cluster.watts * seconds / useful / 3600 / 1e6,
        "checkpoint": checkpoint,
        "storage": storage,
        "best_layouts": propose_layouts(request),
    }


def plan_phase(request: PlanRequest, phase: Phase) -> dict[str, Any]:
    """Steps, memory and step time of a phase. The batch size is rounded down to a multiple of DP."""
    cluster = request.cluster
    layout = cluster.layout_for(phase.length)
    work = make_workload(request, phase, layout)
    kinds = estimate_rank_memory(request.model, layout, work, request.memory_options)
    seconds = step_time(request.model, layout, work, cluster.spec).total
    problems = find_problems(layout, request.model, work, cluster.spec)
    if kinds["total"] > 1e9 * cluster.memory_gb:
        problems.append(f"memory: {kinds['total'] / 1e9:.1f} GB are above the limit of {cluster.memory_gb:g} GB")
    return {
        "name": phase.name,
        "length": phase.length,
        "tokens": phase.tokens,
        "sequences": work.sequences,
        "sequences_asked": batch_size(phase),
        "steps": count_steps(phase.tokens, work.tokens),
        "layout": layout.dimensions,
        "virtual": layout.virtual_stages,
        "recompute": layout.recompute,
        "micro_batches": work.num_micro_batches(layout),
        "micro_sequences": work.micro_batch_size,
        "memory": kinds,
        "problems": problems,
        "bubble": layout.bubble(work.num_micro_batches(layout)),
        "step_seconds": seconds,
        "device_flops": flops_per_device(request.model, work, layout, seconds),
    }


def group_problems(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each problem once, with the names of its phases."""
    names_by_problem: dict[str, list[str]] = {}
    for phase in phases:
        for problem in phase["problems"]:
            names_by_problem.setdefault(problem, []).append(phase["name"])
    return [
        f"{'every phase' if len(names) == len(phases) else ', '.join(names)}: {problem}"
        for problem, names in names_by_problem.items()
    ]


def make_workload(request: PlanRequest, phase: Phase, layout: Layout) -> Workload:
    """A step of the phase, with the largest micro-batch size that `micro_tokens` allows."""
    per_rank = batch_size(phase) // layout.dp
    if per_rank == 0:
        return Workload(phase.length, batch_size(phase))
    limit = max(1, request.micro_tokens * layout.cp // phase.length)
    micro_batch_size = max(size for size in range(1, min(limit, per_rank) + 1) if per_rank % size == 0)
    return Workload(phase.length, per_rank * layout.dp, micro_batch_size)


def batch_size(phase: Phase) -> int:
    """Sequences per step that the parameters ask for."""
    return max(1, phase.batch_tokens // phase.length)


def propose_layouts(request: PlanRequest) -> list[dict[str, Any]]:
    """The fastest layouts by modelled step time, for the phase with most tokens and for that with the longest
    sequences."""
    largest = max(request.phases, key=lambda phase: phase.tokens)
    longest = max(request.phases, key=lambda phase: (phase.length, phase.tokens))
    proposals = []
    for phase in dict.fromkeys((largest, longest)):
        work = Workload(phase.length, batch_size(phase))
        recompute = request.cluster.layout_for(phase.length).recompute
        cluster, memory = request.cluster.spec, request.memory_options
        for option in find_best_layouts(request.model, work, cluster, memory, recompute):
            proposals.append(
                {
                    "phase": phase.name,
                    "length": phase.length,
                    "layout": option.layout.dimensions,
                    "virtual": option.layout.virtual_stages,
                    "step_seconds": option.seconds,
                    "bytes": option.bytes,
                }
            )
    return proposals
