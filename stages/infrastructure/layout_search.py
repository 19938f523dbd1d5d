"""Layouts of a model on a cluster (3.3.2): validates one layout, and enumerates all valid layouts.

`stages.distributed.layout` checks a layout against the model; this module adds the cluster and the batch. Memory and
step time are in `memory_model` and `step_time`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from stages.distributed.layout import Layout, Recompute
from stages.model.llama import LlamaConfig


@dataclass(frozen=True)
class ClusterSpec:
    """Devices of a cluster, the memory of each in bytes, and their speeds."""

    devices: int
    devices_per_node: int
    """Devices that NVLink connects."""
    memory: float
    peak_flops: float
    """Peak FLOP/s of a device in the type of matrix products."""
    efficiency: float
    """Share of the peak that kernels reach while they run."""
    node_bandwidth: float
    """Bytes per second and direction between devices of a node."""
    network_bandwidth: float
    """Bytes per second and direction between nodes, per device."""


@dataclass(frozen=True)
class Workload:
    """One optimizer step: `sequences` of `length` tokens, in micro-batches of `micro_batch_size` on each DP rank."""

    length: int
    sequences: int
    micro_batch_size: int = 1

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    def num_micro_batches(self, layout: Layout) -> int:
        """M: micro-batches of a step on each DP rank, rounded up to full rounds of the pipeline schedule."""
        return layout.round_up_microbatches(max(1, self.sequences // (layout.dp * self.micro_batch_size)))


def num_pipeline_units(model: LlamaConfig) -> int:
    """Units that a pipeline is balanced over: layers, embedding and output head (3.3.2: the first and the last stage
    have one layer less than the others)."""
    return model.num_hidden_layers + 2


def balance_layout(layout: Layout, model: LlamaConfig) -> Layout:
    """Sets `shorter_ends` to 1 if the pipeline units then divide evenly among the stages, else to 0."""
    even = layout.pp > 1 and num_pipeline_units(model) % layout.num_stages == 0
    return layout.model_copy(update={"shorter_ends": int(even)})


def find_problems(layout: Layout, model: LlamaConfig, work: Workload, cluster: ClusterSpec) -> list[str]:
    """The reasons why a layout cannot run on a cluster, one sentence each; empty if it can."""
    problems = []
    if layout.world_size != cluster.devices:
        problems.append(f"{layout.description} is not the {cluster.devices:,} devices")
    problems += layout.find_problems(model, work.length)
    if layout.tp > cluster.devices_per_node:
        problems.append(f"tp {layout.tp} leaves the node: NVLink connects {cluster.devices_per_node} devices")
    each = layout.dp * work.micro_batch_size
    if work.sequences % each:
        problems.append(
            f"a batch of {work.sequences:,} sequences cannot be divided by dp {layout.dp} x {work.micro_batch_size} "
            f"per micro-batch; {work.sequences // each * each or each:,} can"
        )
    return problems


def enumerate_layouts(
    model: LlamaConfig, work: Workload, cluster: ClusterSpec, recompute: Recompute = "none"
) -> Iterator[Layout]:
    """Every layout that can run, with each possible number of stages per pipeline rank."""
    width = gcd(model.num_attention_heads, model.num_key_value_heads, model.intermediate_size, model.vocab_size)
    for tp in _divisors(gcd(width, cluster.devices)):
        if tp > cluster.devices_per_node:
            continue
        for cp in _divisors(cluster.devices // tp):
            if work.length % (2 * cp):
                continue
            for pp in _divisors(cluster.devices // tp // cp):
                dp = cluster.devices // tp // cp // pp
                if pp > num_pipeline_units(model) or work.sequences % (dp * work.micro_batch_size):
                    continue
                for virtual in range(1, num_pipeline_units(model) // pp + 1 if pp > 1 else 2):
                    layout = Layout(tp=tp, cp=cp, pp=pp, dp=dp, virtual_stages=virtual, recompute=recompute)
                    layout = balance_layout(layout, model)
                    if not find_problems(layout, model, work, cluster):
                        yield layout


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
