"""A model over many ranks (3.3.2): tensor, context, pipeline and data parallelism, from torch's building blocks.

The paper's order is [TP, CP, PP, DP], innermost to outermost. The LAST dimension of torch's DeviceMesh is the innermost
(neighbouring ranks), so the mesh is ("dp", "pp", "cp", "tp"): ranks 0 .. tp - 1 are one TP group.

- TP: DTensor. Columns of q, k, v, gate and up, rows of o and down, the vocabulary of embedding and head; between them
  the sequence is sharded (sequence parallel), so that norms and residuals are sharded too.
- CP: a rank holds chunks i and 2 CP - 1 - i of each sequence and all-gathers keys and values (no ring: with GQA they
  are small, and the document mask remains a mask).
- PP: a rank holds every pp-th stage of consecutive layers, for an interleaved 1F1B schedule.
- FSDP over dp and cp: parameters, gradients and optimizer state are sharded; parameters are not resharded after the
  forward pass, gradients are reduced in float32.

The computation itself is in stages/model/llama.py, which does not depend on this.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_gather_single_autograd
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from stages.distributed.layout import DIMENSIONS, Layout
from stages.interface import StageError
from stages.model import fused_attention as fused
from stages.model.llama import (
    AttentionBlock,
    DecoderLayer,
    ForwardContext,
    KVCache,
    Llama,
    LlamaConfig,
    RewardModel,
    attention_blocks,
    rope_cos_sin,
)


def make_mesh(layout: Layout, device: str) -> DeviceMesh:
    """The ranks of this process group as a mesh; raises StageError if their number is not the layout's."""
    started = torch.distributed.get_world_size()
    if started != layout.world_size:
        raise StageError(f"the layout needs {layout.world_size} ranks, {started} were started: {layout}")
    outermost_first = DIMENSIONS[::-1]
    sizes = tuple(layout.dimensions[name] for name in outermost_first)
    return init_device_mesh(device, sizes, mesh_dim_names=outermost_first)


class AllGatherCache(KVCache):
    """Takes the place of a layer's cache: all-gathers keys and values of the sequence from the context-parallel ranks.

    `order` [T]: the index of each position of the sequence in the ranks' concatenated chunks.
    """

    def __init__(self, group: Any, order: Tensor) -> None:
        self._group, self._order = group, order

    def append(self, k: Tensor, v: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        both = all_gather_single_autograd(torch.stack([k, v]), 3, self._group)
        keys, values = both.index_select(3, self._order).unbind(0)
        return keys, values


class ModelPart(nn.Module):
    """A pipeline stage: consecutive layers, with the embedding before the first stage's and the head after the last's.

    Parameters have the same names as in the full model.
    """

    def __init__(
        self, model: Llama | RewardModel, layers: range, first: bool, last: bool, layout: Layout, mesh: DeviceMesh
    ) -> None:
        super().__init__()
        self.config: LlamaConfig = model.config
        self.layout = layout
        self.cp_mesh = mesh["cp"]
        self.first, self.last = first, last
        self.model = nn.Module()
        self.model.layers = nn.ModuleDict({str(index): model.model.layers[index] for index in layers})
        if first:
            self.model.embed_tokens = model.model.embed_tokens
        if last:
            self.model.norm = model.model.norm
            if isinstance(model, Llama):
                self.lm_head = model.lm_head
            else:
                self.score = model.score
        # The mask's representation and the attention that takes it; a GPU has another kernel than a CPU.
        self.mask: Callable[[Tensor, Tensor], Any] = make_attention_blocks
        self.attention: Callable[[Tensor, Tensor, Tensor, Any], Tensor] = ForwardContext.attention

    def forward(self, x: Tensor, starts: Tensor) -> Tensor:
        """Tokens [B, T / cp] (first) or hidden states [B, T / cp / tp, d] -> hidden states, or logits [B, T / cp, V],
        or rewards [B, T / cp].

        `starts` [B or 1, T] is of the full sequence; see `attention_blocks`.
        """
        context, cache = self.make_context(starts)
        if self.first:
            x = self.model.embed_tokens(x)  # type: ignore[operator]
        for layer in self.model.layers.values():  # type: ignore[operator]
            x = forward_layer(layer, self.layout, x, context, cache)
        if not self.last:
            return x
        x = self.model.norm(x)  # type: ignore[operator]
        if hasattr(self, "lm_head"):
            return self.lm_head(x)
        rewards = self.score(x)
        return (rewards.full_tensor() if isinstance(rewards, DTensor) else rewards).squeeze(-1)

    def make_context(self, starts: Tensor) -> tuple[ForwardContext, AllGatherCache | None]:
        """What the layers share: RoPE and mask of this rank's queries; and the cache that gathers the ranks' keys."""
        length, rank = starts.shape[1], self.cp_mesh.get_local_rank()
        positions = local_positions(self.layout, rank, length, starts.device)
        cos, sin = rope_cos_sin(positions[None], self.config.head_dim, self.config.rope_theta, self.config.rope_scaling)
        cache = None
        if self.layout.cp > 1:
            chunks = [local_positions(self.layout, other, length, starts.device) for other in range(self.layout.cp)]
            cache = AllGatherCache(self.cp_mesh.get_group(), torch.cat(chunks).argsort())
        return ForwardContext(cos, sin, self.mask(starts, positions), 0, None, self.attention), cache


def make_attention_blocks(starts: Tensor, positions: Tensor) -> list[AttentionBlock]:
    """Causal, per-document attention of the queries at `positions` [Q]: one contiguous chunk, or two of one length."""
    num_chunks = 1 if int(positions[-1]) - int(positions[0]) == len(positions) - 1 else 2
    size = len(positions) // num_chunks
    blocks = []
    for chunk in range(num_chunks):
        first = int(positions[chunk * size])
        for block in attention_blocks(starts[:, : first + size], first, size):
            block.first_query += chunk * size
            block.last_query += chunk * size
            blocks.append(block)
    return blocks


def local_positions(layout: Layout, rank: int, length: int, device: torch.device | str = "cpu") -> Tensor:
    """The positions of a sequence on a context-parallel rank, [length / cp], in its order."""
    if layout.cp == 1:
        return torch.arange(length, device=device)
    chunks = torch.arange(length, device=device).chunk(2 * layout.cp)
    return torch.cat([chunks[chunk] for chunk in layout.chunks(rank)])


def forward_layer(layer: nn.Module, layout: Layout, *arguments: Any) -> Tensor:
    """`layer(*arguments)` with the layout's activation checkpointing.

    `elementwise` keeps attention's output and every product; `selective` what is expensive for its size: attention's
    output, and the products of gate and up, which are 55% of a layer of the 405B. The other products, 18%, are then
    recomputed (down is not needed), together with norms and gathers.
    """
    if layout.recompute == "none":
        output: Tensor = layer(*arguments)
        return output
    if layout.recompute == "full":
        return checkpoint(layer, *arguments, use_reentrant=False)
    ffn_size: Any = layer.mlp.gate_proj.out_features  # type: ignore[union-attr]
    keep_all = layout.recompute == "elementwise"

    def policy(context: Any, operation: Any, *inputs: Any, **kwargs: Any) -> CheckpointPolicy:
        is_product = operation == torch.ops.aten.mm.default
        is_kept_product = is_product and (keep_all or inputs[1].shape[-1] in (ffn_size, ffn_size // layout.tp))
        is_attention = operation in (
            torch.ops.aten._scaled_dot_product_flash_attention.default,
            torch.ops.aten._scaled_dot_product_efficient_attention.default,
        )
        return CheckpointPolicy.MUST_SAVE if is_kept_product or is_attention else CheckpointPolicy.PREFER_RECOMPUTE

    return checkpoint(
        layer, *arguments, use_reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(policy)
    )


class ModelParts(nn.Module):
    """The pipeline stages of this rank, in order; parameters have the same names as in the full model."""

    def __init__(self, config: LlamaConfig, parts: list[ModelPart], layout: Layout, mesh: DeviceMesh) -> None:
        super().__init__()
        self.config, self.layout, self.mesh = config, layout, mesh
        self.parts = nn.ModuleList(parts)

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        """Logits or rewards, as the full model's forward; only without a pipeline."""
        (part,) = self.parts
        if starts is None:
            starts = torch.zeros(1, tokens.shape[1] * self.layout.cp, dtype=torch.long, device=tokens.device)
        output: Tensor = part(tokens, starts)
        return output

    def named_parameters(self, *arguments: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        for part in self.parts:
            yield from part.named_parameters(*arguments, **kwargs)


def parallelize(
    model: Llama | RewardModel, layout: Layout, mesh: DeviceMesh, dtype: torch.dtype | None = None, device: str = "cpu"
) -> ModelParts:
    """This rank's parts of `model`, which stays unchanged. `dtype`: of products and of the all-gathered parameters."""
    with torch.device("meta"):
        meta_model = type(model)(model.config)
    parts = split_model(meta_model, layout, mesh)
    if device != "cpu":
        for part in parts.parts:
            assert isinstance(part, ModelPart)
            part.mask, part.attention = fused.make_mask, fused.masked_attention
    load_parameters(parts, model, device)
    apply_fsdp(parts, dtype)
    return parts


def load_parameters(parts: ModelParts, model: Llama | RewardModel, device: str) -> None:
    """Gives parts on the meta device their slices of the full model's parameters, or initialises them if the model is
    on the meta device too. Parameter by parameter: a rank never holds more than its parts and one full parameter."""
    loaded = {}
    for name, parameter in parts.named_parameters():
        value = model.get_parameter(name).detach()
        if value.is_meta:
            assert isinstance(model, Llama)
            value = model.init_parameter(name)
        value = value.to(device)
        if isinstance(parameter, DTensor):  # sliced without communication
            shard = distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
            value = DTensor.from_local(shard.to_local().clone(), parameter.device_mesh, parameter.placements)
        else:
            value = value.clone()
        loaded[id(parameter)] = nn.Parameter(value)
    for module in parts.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, loaded[id(parameter)])


def split_model(
    model: Llama | RewardModel, layout: Layout, mesh: DeviceMesh, pipeline_rank: int | None = None
) -> ModelParts:
    """The parts of `model` on a pipeline rank (None: this one), with this rank's tensor-parallel shards; no FSDP."""
    stages = layout.layers(model.config.num_hidden_layers)
    rank = mesh["pp"].get_local_rank() if pipeline_rank is None else pipeline_rank
    parts = []
    for stage in range(rank, layout.num_stages, layout.pp):
        part = ModelPart(model, stages[stage], stage == 0, stage == layout.num_stages - 1, layout, mesh)
        if layout.tp > 1:
            apply_tp(part, mesh["tp"])
        parts.append(part)
    return ModelParts(model.config, parts, layout, mesh)


def apply_fsdp(parts: ModelParts, dtype: torch.dtype | None = None) -> None:
    """Shards parameters over dp and cp with FSDP."""
    fsdp_mesh = parts.mesh["dp", "cp"]._flatten("shard")
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in parts.parts:
        for module in (*part.model.layers.values(), part):  # type: ignore[operator, union-attr]
            fully_shard(module, mesh=fsdp_mesh, reshard_after_forward=False, mp_policy=policy)
        for module in part.modules():
            if isinstance(module, FSDPModule):
                # Sums, not means: the loss is divided by the weight of the whole batch.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)


def apply_tp(part: ModelPart, mesh: DeviceMesh) -> None:
    """Shards the part's matrices over `mesh`, and the sequence between them."""
    gather_input = PrepareModuleInput(
        input_layouts=(Shard(1), None, None), desired_input_layouts=(Replicate(), None, None)
    )
    plan = {
        "input_layernorm": SequenceParallel(),
        "self_attn": gather_input,
        "self_attn.q_proj": ColwiseParallel(),
        "self_attn.k_proj": ColwiseParallel(),
        "self_attn.v_proj": ColwiseParallel(),
        "self_attn.o_proj": RowwiseParallel(output_layouts=Shard(1)),
        "post_attention_layernorm": SequenceParallel(),
        "mlp": PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)),
        "mlp.gate_proj": ColwiseParallel(),
        "mlp.up_proj": ColwiseParallel(),
        "mlp.down_proj": RowwiseParallel(output_layouts=Shard(1)),
    }
    for layer in part.model.layers.values():  # type: ignore[operator]
        assert isinstance(layer, DecoderLayer)
        parallelize_module(layer, mesh, plan)
    ends = {
        "model.embed_tokens": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
        "model.norm": SequenceParallel(),
        # The logits stay sharded over the vocabulary; torch's loss_parallel computes the loss from the shards.
        "score": SequenceParallel(),
        "lm_head": ColwiseParallel(input_layouts=Shard(1), output_layouts=Shard(-1), use_local_output=False),
    }
    names = {name for name, _ in part.named_modules()}
    parallelize_module(part, mesh, {name: style for name, style in ends.items() if name in names})
    if part.config.tie_word_embeddings and "lm_head" in names:
        part.lm_head.weight = part.model.embed_tokens.weight  # type: ignore[union-attr, assignment]
