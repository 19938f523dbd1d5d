"""The memory of a rank by arithmetic (3.3.2): weights, gradients, optimizer state and activations.

Weights, gradients and moments are exact. Activations are counted tensor by tensor: those that autograd keeps of each
layer for the backward pass, times the micro-batches in flight.
"""

from dataclasses import dataclass
from typing import Literal

from stages.distributed.layout import Layout
from stages.infrastructure.layout_search import Workload
from stages.model.llama import QUERY_BLOCK, LlamaConfig

FLOAT32, BFLOAT16 = 4, 2
Kernels = Literal["eager", "fused"]
"""eager: this project's model on a CPU, whose blocked attention keeps the attention weights; fused: flash attention,
which keeps none, and a bfloat16 residual stream."""


@dataclass(frozen=True)
class MemoryOptions:
    """Memory options that do not depend on the layout."""

    precision: Literal["bf16", "fp32"] = "bf16"
    kernels: Kernels = "fused"

    @property
    def element_bytes(self) -> int:
        """Bytes per element of a matrix product."""
        return BFLOAT16 if self.precision == "bf16" else FLOAT32


def count_rank_parameters(model: LlamaConfig, layout: Layout, stage: int) -> tuple[int, int]:
    """(all parameters, parameters of matrix products) of a rank of a pipeline stage, before FSDP shards them."""
    d, key_value = model.hidden_size, model.num_key_value_heads * model.head_dim
    matrices = (2 * d * d + 2 * d * key_value + 3 * d * model.intermediate_size) // layout.tp
    layers = layout.layers_on_rank(model.num_hidden_layers, stage)
    first, last = stage == 0, stage == layout.pp - 1
    products, others = layers * matrices, layers * 2 * d + last * d
    table = model.vocab_size * d // layout.tp
    if first and last and model.tie_word_embeddings:
        return products + others + table, products + table
    return products + others + (first + last) * table, products + last * table


def layer_activation_bytes(model: LlamaConfig, work: Workload, layout: Layout, memory: MemoryOptions) -> float:
    """Bytes of activations that one layer keeps for one micro-batch on one rank."""
    d, ff, key_value = model.hidden_size, model.intermediate_size, model.num_key_value_heads * model.head_dim
    tokens = work.micro_batch_size * work.length / layout.cp / layout.tp
    w = memory.element_bytes
    if layout.recompute == "full":
        return tokens * d * w
    if layout.recompute == "selective":
        # x, attention output and a float32 per query and head; gate, up; keys and values gathered over CP.
        return tokens * (w * (2 * d + 4 * key_value + 2 * ff) + FLOAT32 * model.num_attention_heads)
    if layout.recompute == "elementwise":
        # x, q, attention output, x after attention; k, v; gate, up.
        return tokens * w * (4 * d + 2 * key_value + 2 * ff)
    if memory.kernels == "fused":
        # As above, plus the outputs of the norms, silu(gate) and the product.
        return tokens * w * (6 * d + 2 * key_value + 4 * ff)
    # Each norm keeps its input, the normalized input and 1 / RMS. The input of q, k, v and of gate, up is one tensor
    # each, or under autocast one copy for each of the five projections.
    norms = 2 * FLOAT32 * (2 * d + 1) + w * d * (2 if w == FLOAT32 else 5)
    per_token = norms + w * (d + 4 * ff)  # o_proj's input; gate, silu(gate), up, product
    return tokens * per_token + work.micro_batch_size * _blocked_attention_bytes(model, work.length, w)


def _blocked_attention_bytes(model: LlamaConfig, length: int, width: int) -> float:
    """Bytes that `stages.model.llama.blockwise_attention` keeps for one sequence of one document: per block of queries
    the queries, the visible keys and values, and the softmax in float32, with a bfloat16 copy if products are in
    bfloat16."""
    num_keys = [min(first + QUERY_BLOCK, length) for first in range(0, length, QUERY_BLOCK)]
    num_queries = [last - first for first, last in zip([0, *num_keys], num_keys, strict=False)]
    key_value = model.num_key_value_heads * model.head_dim
    weights = model.num_attention_heads * sum(q * k for q, k in zip(num_queries, num_keys, strict=True))
    copies = FLOAT32 + (width if width != FLOAT32 else 0)
    return width * (length * model.hidden_size + 2 * key_value * sum(num_keys)) + copies * weights


def max_in_flight(layout: Layout, micro_batches: int, rank: int) -> int:
    """Most forward passes (stage and micro-batch) whose activations a pipeline rank keeps at once. The interleaved
    schedule has two per later rank, and one round for each further virtual stage of this rank."""
    virtual, per_round = layout.virtual_stages, micro_batches // layout.num_rounds(micro_batches)
    return min(micro_batches * virtual, 2 * (layout.pp - rank - 1) + (virtual - 1) * per_round + 1)


def estimate_stage_memory(
    model: LlamaConfig, layout: Layout, work: Workload, memory: MemoryOptions, stage: int
) -> dict[str, float]:
    """Bytes by kind of a rank of a pipeline stage during training.

    Parameters and moments are float32 and sharded. The working copy is bfloat16 and unsharded, since shards are not
    freed after the forward pass (3.3.2). Gradients accumulate unsharded in float32 until the last micro-batch, then
    they are sharded. torch's pipeline has one buffer per micro-batch and stage for the input, and one for the gradient
    of the output; the paper frees them early (3.3.2).
    """
    parameters, products = count_rank_parameters(model, layout, stage)
    tokens = work.micro_batch_size * work.length / layout.cp
    num_micro_batches, width = work.num_micro_batches(layout), memory.element_bytes
    layers = layout.layers_on_rank(model.num_hidden_layers, stage) / layout.virtual_stages
    kept = layer_activation_bytes(model, work, layout, memory)
    recomputed = 0.0
    if layout.recompute != "none":  # all activations of one layer during its backward pass
        no_recompute = layout.model_copy(update={"recompute": "none"})
        fused = MemoryOptions(memory.precision, "fused")
        recomputed = layer_activation_bytes(model, work, no_recompute, fused) - kept
    logits = 0.0
    if stage == layout.pp - 1:
        # The final norm, and the input of the head.
        norm = 2 * FLOAT32 * model.hidden_size + (width * model.hidden_size if width != FLOAT32 else 0)
        # Log-probabilities, their gradient and the gradient of the logits, in float32 when the backward pass begins.
        logits = tokens / layout.tp * (norm + 3 * FLOAT32 * model.vocab_size)
    bf16 = memory.precision == "bf16"
    ends = (2 * layout.virtual_stages - (stage == 0) - (stage == layout.pp - 1)) if layout.pp > 1 else 0
    hidden = width * tokens / layout.tp * model.hidden_size
    working_copy = parameters if memory.kernels == "fused" else products  # autocast keeps embedding and norms float32
    return {
        "parameters": FLOAT32 * parameters / layout.num_shards,
        "working copy": float(width * working_copy) if bf16 or layout.num_shards > 1 else 0.0,
        "gradients": FLOAT32 * parameters * (1 + (1 / layout.num_shards if layout.num_shards > 1 else 0)),
        "optimizer": 2 * FLOAT32 * parameters / layout.num_shards,
        "activations": max_in_flight(layout, num_micro_batches, stage) * layers * kept + recomputed,
        "logits": logits,
        "buffers": float(ends * num_micro_batches * hidden),
    }


def estimate_rank_memory(model: LlamaConfig, layout: Layout, work: Workload, memory: MemoryOptions) -> dict[str, float]:
    """Bytes by kind of the rank with the highest total, and their `total`."""
    stages = (estimate_stage_memory(model, layout, work, memory, stage) for stage in range(layout.pp))
    worst = max(stages, key=lambda kinds: sum(kinds.values()))
    return worst | {"total": sum(worst.values())}
