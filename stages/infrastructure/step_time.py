"""How long a training step takes under a layout (3.3.2), part by part: products, TP, CP and DP traffic, bubble.

It ranks layouts. Its one free number, the share of the peak that kernels reach, is set so that the first row of Table 4
comes out; the other two rows are then predictions.
"""

from dataclasses import dataclass

from stages.distributed.layout import Layout, Recompute
from stages.infrastructure.layout_search import Work, candidates, slots
from stages.infrastructure.memory_model import Memory, rank_memory
from stages.model.llama import LlamaConfig
from stages.scaling.flops import training_flops


@dataclass(frozen=True)
class Speeds:
    """What a device and its networks do."""

    flops: float
    """Peak FLOP/s of a device in the products' type."""
    efficiency: float
    """Share of it that kernels reach while nothing is waited for."""
    node: float
    """Bytes per second and direction between devices of a node (NVLink)."""
    network: float
    """Bytes per second and direction between nodes, per device."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step by what they go to; `total` is their sum."""

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
    document of `length`: work that takes time, though 6 N D does not count it (`stages.scaling.flops`)."""
    return 6.0 * model.num_hidden_layers * model.hidden_size * length


def again_flops(model: LlamaConfig, length: int, recompute: Recompute) -> float:
    """FLOPs per token that the backward pass spends on what was not kept: work that takes time and counts nowhere."""
    d, key_value = model.hidden_size, model.num_key_value_heads * model.head_dim
    if recompute == "selective":  # q, k, v and the projection of attention's output
        return 2.0 * model.num_hidden_layers * (2 * d * d + 2 * d * key_value)
    if recompute == "full":
        return 2.0 * model.body_parameters + attention_flops(model, length) / 3
    return 0.0


def step_time(model: LlamaConfig, layout: Layout, work: Work, speeds: Speeds, *, devices_per_node: int) -> StepTime:
    """The modelled step. TP and CP traffic is not hidden behind products; DP traffic hides behind one micro-batch's
    forward (gathering weights) and backward pass (scattering gradients), and what is longer shows; the pipeline's
    sends are asynchronous and are taken to be hidden (3.3.2)."""
    count = work.micro_batches(layout)
    # The slowest pipeline rank sets the pace. Embedding and head count as the layer that they stand for.
    pace = (slots(model) if layout.pp > 1 else model.num_hidden_layers) / model.num_hidden_layers
    tokens = work.micro * work.length
    per_token = training_flops(model.parameters, 1) + attention_flops(model, work.length)
    per_token += again_flops(model, work.length, layout.recompute)
    compute = pace * per_token * tokens / (layout.tp * layout.cp * layout.pp) / (speeds.flops * speeds.efficiency)
    layers = pace * model.num_hidden_layers / layout.pp

    def within(ranks: int, span: int, size: float) -> float:
        """Seconds of one all-gather or reduce-scatter of `size` bytes over `ranks` among `span` neighbours."""
        speed = speeds.node if span <= devices_per_node else speeds.network
        return (ranks - 1) / ranks * size / speed

    # Sequence parallel: a gather and a scatter around attention and around the feed-forward part, and their reverse.
    local = tokens / layout.cp * model.hidden_size * 2
    tensor = layers * (12 if layout.recompute == "full" else 8) * within(layout.tp, layout.tp, local)
    # Keys and values are gathered forward and backward, and their gradients scattered (3.3.2: all-gather, no ring).
    keys_values = tokens * 2 * model.num_key_value_heads * model.head_dim / layout.tp * 2
    context = layers * 3 * within(layout.cp, layout.tp * layout.cp, keys_values)
    one = compute + tensor + context
    shard = pace * model.parameters / layout.tp / layout.pp
    gather, scatter = (within(layout.shards, layout.ranks, width * shard) for width in (2, 4))
    exposed = max(0.0, gather - one / 3) + max(0.0, scatter - 2 * one / 3)
    bubble = layout.bubble(count) * count * one
    return StepTime(count * compute, count * tensor, count * context, bubble, exposed)


def per_device(model: LlamaConfig, work: Work, layout: Layout, seconds: float, *, attention: bool = True) -> float:
    """FLOP/s of each device in a step of so many seconds; by 6 N D alone, or with attention's own work counted too."""
    per_token = training_flops(model.parameters, 1) + (attention_flops(model, work.length) if attention else 0.0)
    return per_token * work.tokens / layout.ranks / seconds


@dataclass(frozen=True)
class Option:
    """A layout that runs, and what is modelled of it."""

    layout: Layout
    seconds: float
    bytes: float


def best(
    model: LlamaConfig,
    work: Work,
    speeds: Speeds,
    memory: Memory,
    *,
    devices: int,
    devices_per_node: int,
    limit: float,
    recompute: Recompute = "none",
    most: int = 5,
) -> list[Option]:
    """The quickest layouts that run and need at most `limit` bytes, one for each [TP, CP, PP, DP], with the number of
    stages per pipeline rank that suits it best."""
    found: dict[tuple[int, ...], Option] = {}
    runs = candidates(model, work, devices=devices, devices_per_node=devices_per_node, recompute=recompute)
    for layout in runs:
        seconds = step_time(model, layout, work, speeds, devices_per_node=devices_per_node).total
        dimensions = tuple(layout.dimensions.values())
        if dimensions in found and found[dimensions].seconds <= seconds:
            continue
        size = rank_memory(model, layout, work, memory)["total"]
        if size <= limit:
            found[dimensions] = Option(layout, seconds, size)
    order = lambda option: (option.seconds, option.bytes, option.layout.ranks, option.layout.pp)  # noqa: E731
    return sorted(found.values(), key=order)[:most]
