"""Modelled time of a training step under a layout (3.3.2): compute, TP, CP and DP communication, pipeline bubble.

It ranks layouts. Its one free parameter, the share of the peak that kernels reach, is calibrated on the first row of
Table 4; the other two rows are predictions.
"""

from dataclasses import dataclass

from stages.distributed.layout import Layout, Recompute
from stages.infrastructure.layout_search import ClusterSpec, Workload, enumerate_layouts, num_pipeline_units
from stages.infrastructure.memory_model import MemoryOptions, estimate_rank_memory
from stages.model.llama import LlamaConfig
from stages.scaling.flops import training_flops


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step by kind; `total` is their sum."""

    compute: float
    tensor_parallel: float
    context_parallel: float
    bubble: float
    data_parallel: float

    @property
    def total(self) -> float:
        return self.compute + self.tensor_parallel + self.context_parallel + self.bubble + self.data_parallel


def attention_flops(model: LlamaConfig, length: int) -> float:
    """FLOPs per token of attention scores and their product with the values, forward and backward, for one causal
    document of `length` tokens. 6 N D does not count them (`stages.scaling.flops`)."""
    return 6.0 * model.num_hidden_layers * model.hidden_size * length


def recompute_flops(model: LlamaConfig, length: int, recompute: Recompute) -> float:
    """FLOPs per token that activation recomputation adds to the backward pass; 6 N D does not count them."""
    d, key_value = model.hidden_size, model.num_key_value_heads * model.head_dim
    if recompute == "selective":  # q, k, v and the output projection
        return 2.0 * model.num_hidden_layers * (2 * d * d + 2 * d * key_value)
    if recompute == "full":
        return 2.0 * model.body_parameters + attention_flops(model, length) / 3
    return 0.0


def step_time(model: LlamaConfig, layout: Layout, work: Workload, cluster: ClusterSpec) -> StepTime:
    """The modelled step time. TP and CP communication is not overlapped with compute. DP communication overlaps with
    the forward pass (all-gather of weights) and the backward pass (reduce-scatter of gradients) of one micro-batch.
    Pipeline sends are asynchronous and assumed to be hidden (3.3.2)."""
    count = work.num_micro_batches(layout)
    # The slowest pipeline rank determines the time. Embedding and head count as one layer each.
    slowdown = (num_pipeline_units(model) if layout.pp > 1 else model.num_hidden_layers) / model.num_hidden_layers
    tokens = work.micro_batch_size * work.length
    per_token = training_flops(model.parameters, 1) + attention_flops(model, work.length)
    per_token += recompute_flops(model, work.length, layout.recompute)
    compute = slowdown * per_token * tokens / (layout.tp * layout.cp * layout.pp)
    compute /= cluster.peak_flops * cluster.efficiency
    layers = slowdown * model.num_hidden_layers / layout.pp

    def collective_seconds(ranks: int, span: int, size: float) -> float:
        """Seconds of one all-gather or reduce-scatter of `size` bytes over `ranks` ranks among `span` devices."""
        bandwidth = cluster.node_bandwidth if span <= cluster.devices_per_node else cluster.network_bandwidth
        return (ranks - 1) / ranks * size / bandwidth

    # Sequence parallelism: all-gather and reduce-scatter around attention and feed-forward, forward and backward.
    hidden = tokens / layout.cp * model.hidden_size * 2
    tensor = layers * (12 if layout.recompute == "full" else 8) * collective_seconds(layout.tp, layout.tp, hidden)
    # All-gather of keys and values forward and backward, reduce-scatter of their gradients (3.3.2: no ring).
    keys_values = tokens * 2 * model.num_key_value_heads * model.head_dim / layout.tp * 2
    context = layers * 3 * collective_seconds(layout.cp, layout.tp * layout.cp, keys_values)
    micro_batch = compute + tensor + context
    shard = slowdown * model.parameters / layout.tp / layout.pp
    gather, scatter = (collective_seconds(layout.num_shards, layout.world_size, width * shard) for width in (2, 4))
    exposed = max(0.0, gather - micro_batch / 3) + max(0.0, scatter - 2 * micro_batch / 3)
    bubble = layout.bubble(count) * count * micro_batch
    return StepTime(count * compute, count * tensor, count * context, bubble, exposed)


def flops_per_device(
    model: LlamaConfig, work: Workload, layout: Layout, seconds: float, *, attention: bool = True
) -> float:
    """FLOP/s per device in a step of `seconds`: 6 N D, plus the FLOPs of attention scores if `attention`."""
    per_token = training_flops(model.parameters, 1) + (attention_flops(model, work.length) if attention else 0.0)
    return per_token * work.tokens / layout.world_size / seconds


@dataclass(frozen=True)
class LayoutOption:
    """A valid layout with its modelled step time and bytes per rank."""

    layout: Layout
    seconds: float
    bytes: float


def find_best_layouts(
    model: LlamaConfig,
    work: Workload,
    cluster: ClusterSpec,
    memory: MemoryOptions,
    recompute: Recompute = "none",
    top_k: int = 5,
) -> list[LayoutOption]:
    """The `top_k` fastest valid layouts that fit into memory, one per [TP, CP, PP, DP], each with its best number of
    stages per pipeline rank."""
    fastest: dict[tuple[int, ...], LayoutOption] = {}
    for layout in enumerate_layouts(model, work, cluster, recompute):
        seconds = step_time(model, layout, work, cluster).total
        dimensions = tuple(layout.dimensions.values())
        if dimensions in fastest and fastest[dimensions].seconds <= seconds:
            continue
        size = estimate_rank_memory(model, layout, work, memory)["total"]
        if size <= cluster.memory:
            fastest[dimensions] = LayoutOption(layout, seconds, size)
    order = lambda option: (option.seconds, option.bytes, option.layout.world_size, option.layout.pp)  # noqa: E731
    return sorted(fastest.values(), key=order)[:top_k]
