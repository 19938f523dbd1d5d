"""One model over many ranks (3.3.2): tensor, context, pipeline and data parallel, from torch's own parts.

The paper's order is [TP, CP, PP, DP] from the innermost to the outermost. The LAST dimension of torch's DeviceMesh is
the innermost (neighbouring ranks), so the mesh is ("dp", "pp", "cp", "tp"): ranks 0 .. tp - 1 are one TP group.

- TP: DTensor. Columns of q, k, v, gate and up, rows of o and down, the vocabulary of embedding and head; between them
  each rank holds a slice of the sequence (sequence parallel), so that norms and residuals are sharded too.
- CP: a rank holds chunks i and 2 CP - 1 - i of each sequence and gathers the keys and values of all (no ring: with GQA
  they are small, and the document mask stays a mask).
- PP: a rank holds every pp-th run of layers, for an interleaved 1F1B schedule.
- FSDP over dp and cp: parameters, gradients and optimizer state are sharded; parameters are not sharded again after the
  forward pass, gradients are summed in float32.

What is computed stands in stages/model/llama.py, which knows nothing of this.
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
    """The ranks of this process group as a mesh; raises StageError where there are more or fewer than the layout's."""
    started = torch.distributed.get_world_size()
    if started != layout.world_size:
        raise StageError(f"the layout needs {layout.world_size} ranks, {started} were started: {layout}")
    outermost_first = DIMENSIONS[::-1]
    sizes = tuple(layout.dimensions[name] for name in outermost_first)
    return init_device_mesh(device, sizes, mesh_dim_names=outermost_first)


class AllGatherCache(KVCache):
    """In the place of a layer's cache: keys and values of the whole sequence, gathered from the context-parallel ranks.

    `order` [T] says where each position of the sequence lies among the ranks' chunks.
    """

    def __init__(self, group: Any, order: Tensor) -> None:
        self._group, self._order = group, order

    def append(self, k: Tensor, v: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        both = all_gather_single_autograd(torch.stack([k, v]), 3, self._group)
        keys, values = both.index_select(3, self._order).unbind(0)
        return keys, values


class ModelPart(nn.Module):
    """One stage of the pipeline: a run of layers, with the embedding before the first and the head after the last.

    Parameters keep the names they have in the whole model.
    """

    def __init__(
        self, whole: Llama | RewardModel, layers: range, first: bool, last: bool, layout: Layout, mesh: DeviceMesh
    ) -> None:
        super().__init__()
        self.config: LlamaConfig = whole.config
        self.layout = layout
        self.context = mesh["cp"]
        self.first, self.last = first, last
        self.model = nn.Module()
        self.model.layers = nn.ModuleDict({str(index): whole.model.layers[index] for index in layers})
        if first:
            self.model.embed_tokens = whole.model.embed_tokens
        if last:
            self.model.norm = whole.model.norm
            if isinstance(whole, Llama):
                self.lm_head = whole.lm_head
            else:
                self.score = whole.score
        # How attention is computed, and what it is told of the mask; a GPU has another kernel than a CPU.
        self.mask: Callable[[Tensor, Tensor], Any] = make_attention_blocks
        self.attention: Callable[[Tensor, Tensor, Tensor, Any], Tensor] = ForwardContext.attention

    def forward(self, x: Tensor, starts: Tensor) -> Tensor:
        """Tokens [B, T / cp] (first) or hidden states [B, T / cp / tp, d] -> hidden states, or logits [B, T / cp, V],
        or rewards [B, T / cp].

        `starts` [B or 1, T] is of the whole sequence; see `attention_blocks`.
        """
        step, gathered = self.step(starts)
        if self.first:
            x = self.model.embed_tokens(x)  # type: ignore[operator]
        for layer in self.model.layers.values():  # type: ignore[operator]
            x = recomputed(layer, self.layout, x, step, gathered)
        if not self.last:
            return x
        x = self.model.norm(x)  # type: ignore[operator]
        if hasattr(self, "lm_head"):
            return self.lm_head(x)
        rewards = self.score(x)
        return (rewards.full_tensor() if isinstance(rewards, DTensor) else rewards).squeeze(-1)

    def step(self, starts: Tensor) -> tuple[ForwardContext, AllGatherCache | None]:
        """What the layers share: RoPE and the mask of this rank's queries, and how it gets the others' keys."""
        length, rank = starts.shape[1], self.context.get_local_rank()
        positions = local_positions(self.layout, rank, length, starts.device)
        cos, sin = rope_cos_sin(positions[None], self.config.head_dim, self.config.rope_theta, self.config.rope_scaling)
        gathered = None
        if self.layout.cp > 1:
            held = [local_positions(self.layout, other, length, starts.device) for other in range(self.layout.cp)]
            gathered = AllGatherCache(self.context.get_group(), torch.cat(held).argsort())
        return ForwardContext(cos, sin, self.mask(starts, positions), 0, None, self.attention), gathered


def make_attention_blocks(starts: Tensor, positions: Tensor) -> list[AttentionBlock]:
    """Causal, per-document attention of the queries at `positions` [Q], which are one run or two of one length."""
    runs = 1 if int(positions[-1]) - int(positions[0]) == len(positions) - 1 else 2
    size = len(positions) // runs
    blocks = []
    for run in range(runs):
        first = int(positions[run * size])
        for block in attention_blocks(starts[:, : first + size], first, size):
            block.first_query += run * size
            block.last_query += run * size
            blocks.append(block)
    return blocks


def local_positions(layout: Layout, rank: int, length: int, device: torch.device | str = "cpu") -> Tensor:
    """The positions of a sequence that a context-parallel rank holds, [length / cp], in its order."""
    if layout.cp == 1:
        return torch.arange(length, device=device)
    chunks = torch.arange(length, device=device).chunk(2 * layout.cp)
    return torch.cat([chunks[chunk] for chunk in layout.chunks(rank)])


def recomputed(layer: nn.Module, layout: Layout, *arguments: Any) -> Tensor:
    """`layer(*arguments)`, keeping for the backward pass what the layout says.

    `elementwise` keeps attention's output and every product; `selective` what is dear for its size: attention's output,
    and the products of gate and up, which are 55% of a layer of the 405B. The rest of the products, 18%, is then
    computed again (down is not needed), with norms and gathers.
    """
    if layout.recompute == "none":
        output: Tensor = layer(*arguments)
        return output
    if layout.recompute == "full":
        return checkpoint(layer, *arguments, use_reentrant=False)
    wide: Any = layer.mlp.gate_proj.out_features  # type: ignore[union-attr]
    every = layout.recompute == "elementwise"

    def policy(context: Any, operation: Any, *inputs: Any, **named: Any) -> CheckpointPolicy:
        product = operation == torch.ops.aten.mm.default and (every or inputs[1].shape[-1] in (wide, wide // layout.tp))
        attention = operation in (
            torch.ops.aten._scaled_dot_product_flash_attention.default,
            torch.ops.aten._scaled_dot_product_efficient_attention.default,
        )
        return CheckpointPolicy.MUST_SAVE if product or attention else CheckpointPolicy.PREFER_RECOMPUTE

    return checkpoint(
        layer, *arguments, use_reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(policy)
    )


class ModelParts(nn.Module):
    """The stages that this rank holds, in the order of the pipeline; its parameters are named as the whole model's."""

    def __init__(self, config: LlamaConfig, parts: list[ModelPart], layout: Layout, mesh: DeviceMesh) -> None:
        super().__init__()
        self.config, self.layout, self.mesh = config, layout, mesh
        self.parts = nn.ModuleList(parts)

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        """Logits or rewards, where there is no pipeline; as the whole model's forward."""
        (part,) = self.parts
        if starts is None:
            starts = torch.zeros(1, tokens.shape[1] * self.layout.cp, dtype=torch.long, device=tokens.device)
        output: Tensor = part(tokens, starts)
        return output

    def named_parameters(self, *arguments: Any, **named: Any) -> Iterator[tuple[str, nn.Parameter]]:
        for part in self.parts:
            yield from part.named_parameters(*arguments, **named)


def parallelize(
    model: Llama | RewardModel, layout: Layout, mesh: DeviceMesh, dtype: torch.dtype | None = None, device: str = "cpu"
) -> ModelParts:
    """This rank's parts of `model`, which stays as it is. `dtype`: of the products and of the gathered parameters."""
    with torch.device("meta"):
        shapes = type(model)(model.config)
    parts = split_model(shapes, layout, mesh)
    if device != "cpu":
        for part in parts.parts:
            assert isinstance(part, ModelPart)
            part.mask, part.attention = fused.make_mask, fused.masked_attention
    load_parameters(parts, model, device)
    apply_fsdp(parts, dtype)
    return parts


def load_parameters(parts: ModelParts, whole: Llama | RewardModel, device: str) -> None:
    """Gives parts on the meta device their slices of the whole model's parameters, or of its first ones if it is on the
    meta device itself. One parameter after the other: a rank never holds more than its parts and one whole one."""
    made = {}
    for name, parameter in parts.named_parameters():
        value = whole.get_parameter(name).detach()
        if value.is_meta:
            assert isinstance(whole, Llama)
            value = whole.init_parameter(name)
        value = value.to(device)
        if isinstance(parameter, DTensor):  # each rank slices for itself
            mine = distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
            value = DTensor.from_local(mine.to_local().clone(), parameter.device_mesh, parameter.placements)
        else:
            value = value.clone()
        made[id(parameter)] = nn.Parameter(value)
    for module in parts.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, made[id(parameter)])


def split_model(
    model: Llama | RewardModel, layout: Layout, mesh: DeviceMesh, pipeline_rank: int | None = None
) -> ModelParts:
    """The parts of `model` on a pipeline rank (None: this one), matrices sliced as on this rank; before FSDP."""
    runs = layout.layers(model.config.num_hidden_layers)
    rank = mesh["pp"].get_local_rank() if pipeline_rank is None else pipeline_rank
    parts = []
    for stage in range(rank, layout.num_stages, layout.pp):
        part = ModelPart(model, runs[stage], stage == 0, stage == layout.num_stages - 1, layout, mesh)
        if layout.tp > 1:
            apply_tp(part, mesh["tp"])
        parts.append(part)
    return ModelParts(model.config, parts, layout, mesh)


def apply_fsdp(parts: ModelParts, dtype: torch.dtype | None = None) -> None:
    """FSDP over dp and cp: what a rank keeps between steps."""
    over = parts.mesh["dp", "cp"]._flatten("shard")
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in parts.parts:
        for module in (*part.model.layers.values(), part):  # type: ignore[operator, union-attr]
            fully_shard(module, mesh=over, reshard_after_forward=False, mp_policy=policy)
        for module in part.modules():
            if isinstance(module, FSDPModule):
                # Sums, not means: the loss is divided by the weight of the whole batch.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)


def apply_tp(part: ModelPart, mesh: DeviceMesh) -> None:
    """Slices the part's matrices over `mesh`; between them the sequence is sliced."""
    sliced = PrepareModuleInput(input_layouts=(Shard(1), None, None), desired_input_layouts=(Replicate(), None, None))
    plan = {
        "input_layernorm": SequenceParallel(),
        "self_attn": sliced,
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
        # The logits stay sliced by the vocabulary; torch's loss_parallel computes the loss from the slices.
        "score": SequenceParallel(),
        "lm_head": ColwiseParallel(input_layouts=Shard(1), output_layouts=Shard(-1), use_local_output=False),
    }
    here = {name for name, _ in part.named_modules()}
    parallelize_module(part, mesh, {name: style for name, style in ends.items() if name in here})
    if part.config.tie_word_embeddings and "lm_head" in here:
        part.lm_head.weight = part.model.embed_tokens.weight  # type: ignore[union-attr, assignment]
