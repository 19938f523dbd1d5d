"""What one rank's memory holds (3.3.2): weights, gradients, optimizer state and activations, by arithmetic.

Weights, gradients and moments are exact. Activations are counted tensor by tensor: what autograd keeps of each layer
for the backward pass, times the micro-batches that are in flight.
"""

from dataclasses import dataclass
from typing import Literal

from stages.distributed.layout import Layout
from stages.infrastructure.layout_search import Work
from stages.model.llama import QUERY_BLOCK, LlamaConfig

FLOAT32, BFLOAT16 = 4, 2
Kernels = Literal["eager", "fused"]
"""eager: the model of this project on a CPU, whose blocked attention keeps its weights; fused: flash attention, which
keeps none, and a bfloat16 residual stream."""


@dataclass(frozen=True)
class Memory:
    """How the training uses memory, whatever its layout."""

    precision: Literal["bf16", "fp32"] = "bf16"
    kernels: Kernels = "fused"

    @property
    def work(self) -> int:
        """Bytes of an element of a matrix product."""
        return BFLOAT16 if self.precision == "bf16" else FLOAT32


def rank_parameters(model: LlamaConfig, layout: Layout, stage: int) -> tuple[int, int]:
    """(all parameters, those of matrix products) of a rank of a pipeline stage, before FSDP shards them."""
    d, key_value = model.hidden_size, model.num_key_value_heads * model.head_dim
    matrices = (2 * d * d + 2 * d * key_value + 3 * d * model.intermediate_size) // layout.tp
    layers = layout.held(model.num_hidden_layers, stage)
    first, last = stage == 0, stage == layout.pp - 1
    products, others = layers * matrices, layers * 2 * d + last * d
    table = model.vocab_size * d // layout.tp
    if first and last and model.tie_word_embeddings:
        return products + others + table, products + table
    return products + others + (first + last) * table, products + last * table


def layer_bytes(model: LlamaConfig, work: Work, layout: Layout, memory: Memory) -> float:
    """Bytes that one layer keeps of one micro-batch on one rank."""
    d, ff, key_value = model.hidden_size, model.intermediate_size, model.num_key_value_heads * model.head_dim
    tokens = work.micro * work.length / layout.cp / layout.tp
    w = memory.work
    if layout.recompute == "full":
        return tokens * d * w
    if layout.recompute == "selective":
        # x, attention's output and a float32 for each query and head; gate, up; keys and values as gathered over CP.
        return tokens * (w * (2 * d + 4 * key_value + 2 * ff) + FLOAT32 * model.num_attention_heads)
    if layout.recompute == "elementwise":
        # x, q, attention's output, x after it; k, v; gate, up.
        return tokens * w * (4 * d + 2 * key_value + 2 * ff)
    if memory.kernels == "fused":
        # As above, and what the norms give out, silu(gate) and the product.
        return tokens * w * (6 * d + 2 * key_value + 4 * ff)
    # Each norm keeps its input, the normalised input and 1 / RMS; then what q, k, v and gate, up read: one tensor, or
    # under autocast one copy for each of the five.
    norms = 2 * FLOAT32 * (2 * d + 1) + w * d * (2 if w == FLOAT32 else 5)
    per_token = norms + w * (d + 4 * ff)  # o_proj's input; gate, silu(gate), up, product
    return tokens * per_token + work.micro * _blocked_attention(model, work.length, w)


def _blocked_attention(model: LlamaConfig, length: int, width: int) -> float:
    """Bytes that `stages.model.llama.attend` keeps of one sequence that is one document: per block of queries its rows,
    the keys and values it sees, the softmax in float32 and, where products are in bfloat16, once more in that."""
    seen = [min(first + QUERY_BLOCK, length) for first in range(0, length, QUERY_BLOCK)]
    rows = [last - first for first, last in zip([0, *seen], seen, strict=False)]
    key_value = model.num_key_value_heads * model.head_dim
    weights = model.num_attention_heads * sum(count * keys for count, keys in zip(rows, seen, strict=True))
    copies = FLOAT32 + (width if width != FLOAT32 else 0)
    return width * (length * model.hidden_size + 2 * key_value * sum(seen)) + copies * weights


def in_flight(layout: Layout, micro_batches: int, rank: int) -> int:
    """Stages of micro-batches whose activations a pipeline rank holds at once, at most: in the interleaved schedule two
    for each rank that is still to come, and a round for every further stage of its own."""
    virtual, each = layout.virtual_stages, micro_batches // layout.rounds(micro_batches)
    return min(micro_batches * virtual, 2 * (layout.pp - rank - 1) + (virtual - 1) * each + 1)


def stage_memory(model: LlamaConfig, layout: Layout, work: Work, memory: Memory, stage: int) -> dict[str, float]:
    """Bytes by kind of a rank of a pipeline stage while it trains.

    Parameters and moments are float32 and sharded; the working copy is bfloat16 and whole, since shards are not freed
    after the forward pass (3.3.2); gradients add up in float32, whole, until the last micro-batch, and are then
    sharded. torch's pipeline has a buffer for the input and one for the output's gradient of every micro-batch of each
    piece; the paper frees them early (3.3.2).
    """
    every, products = rank_parameters(model, layout, stage)
    tokens = work.micro * work.length / layout.cp
    pieces = in_flight(layout, work.micro_batches(layout), stage)
    layers = layout.held(model.num_hidden_layers, stage) / layout.virtual_stages
    kept = layer_bytes(model, work, layout, memory)
    again = 0.0
    if layout.recompute != "none":  # one layer in full while its backward pass runs
        everything = layout.model_copy(update={"recompute": "none"})
        again = layer_bytes(model, work, everything, Memory(memory.precision, "fused")) - kept
    head = 0.0
    if stage == layout.pp - 1:
        # The final norm, and what the head reads.
        ends = 2 * FLOAT32 * model.hidden_size + (memory.work * model.hidden_size if memory.work != FLOAT32 else 0)
        # Log-probabilities, their gradient and the logits' gradient, all in float32 when the backward pass begins.
        head = tokens / layout.tp * (ends + 3 * FLOAT32 * model.vocab_size)
    bf16 = memory.precision == "bf16"
    ends = (2 * layout.virtual_stages - (stage == 0) - (stage == layout.pp - 1)) if layout.pp > 1 else 0
    hidden = memory.work * tokens / layout.tp * model.hidden_size
    whole = every if memory.kernels == "fused" else products  # autocast leaves embedding and norms in float32
    return {
        "parameters": FLOAT32 * every / layout.shards,
        "working copy": float(memory.work * whole) if bf16 or layout.shards > 1 else 0.0,
        "gradients": FLOAT32 * every * (1 + (1 / layout.shards if layout.shards > 1 else 0)),
        "optimizer": 2 * FLOAT32 * every / layout.shards,
        "activations": pieces * layers * kept + again,
        "logits": head,
        "buffers": float(ends * work.micro_batches(layout) * hidden),
    }


def rank_memory(model: LlamaConfig, layout: Layout, work: Work, memory: Memory) -> dict[str, float]:
    """Bytes by kind of the rank that needs most, and their `total`."""
    stages = (stage_memory(model, layout, work, memory, stage) for stage in range(layout.pp))
    worst = max(stages, key=lambda kinds: sum(kinds.values()))
    return worst | {"total": sum(worst.values())}
