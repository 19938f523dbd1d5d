"""The memory model against the real model and torch's peak."""

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from stages.distributed.layout import Layout
from stages.infrastructure import paper
from stages.infrastructure.layout_search import Workload, find_problems
from stages.infrastructure.memory_model import MemoryOptions, estimate_rank_memory, estimate_stage_memory, max_in_flight
from stages.model.llama import Llama, LlamaConfig
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch
from stages.training.parameters import autocast, make_optimizer
from tests.fixtures import settings
from tests.infrastructure.table_4 import FLAGSHIP, FUSED, H100, TABLE_4


@pytest.mark.parametrize("layout, work, row", TABLE_4)
def test_table_4_runs_and_fits_in_80_gb(layout: Layout, work: Workload, row: dict) -> None:
    """3.3.2: no activation checkpointing at 8K. What an unfused layer keeps is too much; with what costs no product
    computed again it fits, but for the buffers of torch's pipeline, which the paper frees early. How "no checkpointing"
    is to be read is thus an assumption."""
    assert find_problems(layout, FLAGSHIP, work, replace(H100, devices=row["gpus"])) == []
    assert estimate_rank_memory(FLAGSHIP, layout, work, FUSED)["total"] < 80e9
    assert estimate_rank_memory(FLAGSHIP, paper.layout_of_row(row, "none"), work, FUSED)["total"] > 80e9
    freed = estimate_rank_memory(FLAGSHIP, paper.layout_of_row(row, "elementwise"), work, FUSED)
    assert freed["total"] - freed["buffers"] < 80e9


def test_bubble_and_pieces_in_flight() -> None:
    assert Layout(pp=16, virtual_stages=8).bubble(32) == 15 / (8 * 32)  # 3.3.2: (PP - 1) / (V M)
    assert max_in_flight(Layout(pp=4, virtual_stages=2), 8, 0) == 2 * 3 + 4 + 1
    assert max_in_flight(Layout(pp=4, virtual_stages=2), 2, 0) == 4  # no more than there are


@pytest.mark.parametrize("tied", [True, False])
def test_weights_gradients_and_moments_are_those_of_the_real_model(tied: bool) -> None:
    model = Llama(LlamaConfig(512, 64, 3, 4, 2, 176, tie_word_embeddings=tied)).init_weights(1)
    optimizer = make_optimizer(model, settings(precision="fp32", micro_tokens=1024))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    size = lambda tensors: sum(tensor.numel() * tensor.element_size() for tensor in tensors)  # noqa: E731
    result = estimate_rank_memory(model.config, Layout(), Workload(64, 1), MemoryOptions("fp32", "eager"))
    assert result["parameters"] == size(model.parameters())
    assert result["gradients"] == size(parameter.grad for parameter in model.parameters())
    moments = [tensor for name, tensor in optimizer.state().items() if not name.endswith("/steps")]
    assert result["optimizer"] == size(moments)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "config, sequences, length",
    [
        (LlamaConfig(512, 64, 2, 4, 2, 176), 2, 256),
        (LlamaConfig(1024, 128, 3, 4, 2, 352, tie_word_embeddings=True), 4, 256),
        (LlamaConfig(256, 96, 5, 4, 4, 384), 2, 512),
    ],
)
def test_activations_are_within_a_tenth_of_the_measured_peak(
    config: LlamaConfig, sequences: int, length: int, kind: str
) -> None:
    """The allocator's own peak in forward and backward pass, above the weights and gradients that lay there before."""
    model = Llama(config).init_weights(1)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, config.vocab_size, (sequences, length), generator=generator)
    batch = TokenBatch(tokens, tokens, torch.zeros_like(tokens))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def forward_and_backward() -> None:
        with autocast(settings(precision=kind, micro_tokens=1024)):
            value, _ = next_token_loss(model, batch)
        (value / tokens.numel()).backward()

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        forward_and_backward()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    result = estimate_rank_memory(
        config, Layout(), Workload(length, sequences, sequences), MemoryOptions(kind, "eager")
    )
    assert result["activations"] + result["logits"] + result["working copy"] == pytest.approx(peak, rel=0.1)


def test_every_dimension_takes_its_share() -> None:
    work = Workload(8192, 64)
    alone = estimate_stage_memory(FLAGSHIP, Layout(), work, MemoryOptions(), 0)
    by_tensor = estimate_stage_memory(FLAGSHIP, Layout(tp=8), work, MemoryOptions(), 0)
    by_data = estimate_stage_memory(FLAGSHIP, Layout(dp=8), work, MemoryOptions(), 0)
    by_context = estimate_stage_memory(FLAGSHIP, Layout(cp=8), work, MemoryOptions(), 0)
    assert by_tensor["activations"] == alone["activations"] / 8 == by_context["activations"]
    assert by_tensor["gradients"] == pytest.approx(alone["gradients"] / 8, rel=1e-4)  # all but the norms
    assert by_data["optimizer"] == by_context["optimizer"] == alone["optimizer"] / 8
    assert by_data["gradients"] == alone["gradients"] * (1 + 1 / 8)  # whole while they add up, then the shard
    assert alone["buffers"] == 0 < estimate_stage_memory(FLAGSHIP, Layout(pp=16), work, MemoryOptions(), 1)["buffers"]
