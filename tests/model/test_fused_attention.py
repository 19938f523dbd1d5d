"""Attention by a fused kernel with a mask is attention in blocks."""

import pytest
import torch

from stages.distributed.layout import Layout
from stages.distributed.parallelize import local_positions, make_attention_blocks
from stages.model import fused_attention as fused
from stages.model import llama


@pytest.mark.parametrize("layout, rank", [(Layout(), 0), (Layout(cp=2), 0), (Layout(cp=2), 1), (Layout(cp=4), 2)])
def test_both_give_the_same_outputs_and_gradients(layout: Layout, rank: int) -> None:
    """Of documents of several lengths, some across blocks and chunks, for each context-parallel rank."""
    generator = torch.Generator().manual_seed(1)
    length, heads, key_value_heads, width = 320, 6, 2, 8
    begins = torch.rand(3, length, generator=generator) < 0.02
    starts = torch.where(begins, torch.arange(length), 0).cummax(dim=1).values
    positions = local_positions(layout, rank, length)
    q = torch.randn(3, heads, len(positions), width, generator=generator)
    k, v = (torch.randn(3, key_value_heads, length, width, generator=generator) for _ in range(2))
    weights = torch.randn(3, len(positions), heads * width, generator=generator)
    found = []
    in_blocks, masked = (llama.blockwise_attention, make_attention_blocks), (fused.masked_attention, fused.make_mask)
    for attend, mask in (in_blocks, masked):
        inputs = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        out = attend(*inputs, mask(starts, positions))  # type: ignore[operator]
        (out * weights).sum().backward()
        found.append([out.detach(), *(tensor.grad for tensor in inputs)])
    assert starts.max() > length // 2
    for expected, other in zip(*found, strict=True):
        torch.testing.assert_close(other, expected, atol=2e-6, rtol=1e-5)
