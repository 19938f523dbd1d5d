"""Bytes of a rank, counted by hand (3.3.2)."""

from typing import Any

import pytest
import torch
import torch.distributed as dist

from stages.distributed.layout import Layout
from stages.infrastructure import paper, sharded_memory
from stages.infrastructure.layout_search import Workload
from stages.infrastructure.memory_model import estimate_stage_memory, max_in_flight
from stages.infrastructure.sharded_memory import measure_rank_memory
from stages.interface import StageError
from tests.fixtures import shape
from tests.infrastructure.table_4 import FLAGSHIP, FUSED, TABLE_4

ROW = Layout(tp=8, pp=16, dp=64, virtual_stages=8, shorter_ends=1, recompute="selective")
"""The first row of Table 4."""


TOKENS, WIDTH, HIDDEN, LAYERS = 8192, 16384, 53248, 8


@pytest.fixture(scope="module")
def middle() -> dict[str, int]:
    """The second pipeline rank."""
    return measure_rank_memory(paper.model_config("405B"), ROW, TOKENS, 32, stage=1)


def test_a_rank_of_the_papers_first_layout_by_hand(middle: dict[str, int]) -> None:
    result = middle
    matrices = 2 * WIDTH * WIDTH + 2 * WIDTH * 1024 + 3 * WIDTH * HIDDEN
    held = LAYERS * (matrices // 8 + 2 * WIDTH)  # norms are not sliced
    assert result["gathered"] == 2 * held
    assert result["parameters"] == 4 * held // 64 and result["optimizer"] == 2 * result["parameters"]
    assert result["gradients"] == 4 * held + result["parameters"]
    waiting = 7 * 16 + 2 * (16 - 1 - 1) + 1  # interleaved 1F1B: warm-up of the second rank, and the one at work
    half = 2
    kept = TOKENS * WIDTH // 8 * half  # the output, sliced by the sequence
    kept += TOKENS * WIDTH // 8 * half + TOKENS * 128 // 8 * 4  # attention: output and a float32 for each query
    kept += 2 * TOKENS * HIDDEN // 8 * half  # gate and up
    kept += 2 * TOKENS * 128 * 4  # RoPE's cosine and sine
    assert result["activations"] == pytest.approx(waiting * kept, rel=1e-6)  # and the kernel's seed
    assert result["buffers"] == 2 * LAYERS * 32 * (TOKENS // 8 * WIDTH * half)
    assert not dist.is_initialized()


def test_the_last_rank_needs_less_than_the_second(middle: dict[str, int]) -> None:
    last = measure_rank_memory(paper.model_config("405B"), ROW, TOKENS, 32, stage=15)
    assert last["activations"] > middle["activations"] / 2 and sum(last.values()) < sum(middle.values())


@pytest.mark.parametrize("row", paper.TABLE_4[::2], ids=lambda row: f"{row['gpus']}-{row['length']}")
def test_the_layouts_of_table_4_fit_80_gb_with_selective_recomputation(row: dict[str, int]) -> None:
    result = paper.rank_memory_of_row(row)
    assert result["fits"] and result["least_recompute"] == "selective"
    assert result["bytes"]["none"]["total"] > 2 * paper.GPU_MEMORY > 2 * result["bytes"]["selective"]["total"]


def test_shards_of_all_ranks_are_the_model_and_less_is_kept_the_more_is_recomputed() -> None:
    small = shape(hidden_size=64, vocab_size=512, num_hidden_layers=4)
    alone, halves = (measure_rank_memory(small, Layout(dp=dp), 64, 1, stage=0) for dp in (1, 2))
    assert alone["parameters"] == 4 * small.parameters == 2 * halves["parameters"]
    kept = {}
    for how in ("none", "elementwise", "selective", "full"):
        layout = Layout(dp=2, recompute=how)  # type: ignore[arg-type]
        kept[how] = measure_rank_memory(small, layout, 64, 1, stage=0)["activations"]
    assert kept["none"] > kept["elementwise"] > kept["selective"] > kept["full"] > 4 * 64 * 64 * 2
    twice = measure_rank_memory(small, Layout(dp=2), 64, 1, stage=0, micro_batch_size=2)["activations"]
    assert twice == pytest.approx(2 * kept["none"], rel=0.05)


def test_a_layout_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(StageError, match="num_key_value_heads 8 is no multiple of tp 16"):
        measure_rank_memory(paper.model_config("405B"), Layout(tp=16), TOKENS, 1, stage=0)


@pytest.mark.parametrize("layout, work, row", TABLE_4)
@pytest.mark.parametrize("stage", [1, 8])
def test_a_rank_needs_what_the_sharded_model_needs(layout: Layout, work: Workload, row: dict, stage: int) -> None:
    """Against the real sharding on the meta device under a process group that only pretends."""
    counted = sharded_memory.measure_rank_memory(FLAGSHIP, layout, work.length, work.num_micro_batches(layout), stage)
    result = estimate_stage_memory(FLAGSHIP, layout, work, FUSED, stage)
    assert sum(result.values()) == pytest.approx(sum(counted.values()), rel=0.1)
    for kind, name in (
        ("parameters", "parameters"),
        ("working copy", "gathered"),
        ("gradients", "gradients"),
        ("optimizer", "optimizer"),
        ("buffers", "buffers"),
    ):
        assert result[kind] == pytest.approx(counted[name], rel=0.01), kind


@pytest.mark.parametrize("layout", [Layout(pp=4), Layout(pp=4, virtual_stages=2), Layout(pp=2, virtual_stages=3)])
def test_micro_batches_are_those_that_torchs_schedule_takes(layout: Layout) -> None:
    """Every number up to 30: taken or refused, and how many pieces a rank then holds at once."""
    from torch.distributed.pipelining import PipelineStage, ScheduleInterleaved1F1B

    from stages.distributed.pipeline import in_flight as held

    taken = set()
    for rank in range(layout.pp):
        with sharded_memory.fake_process_group(layout.world_size, rank):
            for count in range(1, 31):
                stages: list[Any] = [
                    PipelineStage(torch.nn.Identity(), rank + part * layout.pp, layout.num_stages, torch.device("cpu"))
                    for part in range(layout.virtual_stages)
                ]
                try:
                    schedule = ScheduleInterleaved1F1B(stages, count, loss_fn=lambda logits, targets: logits)
                except ValueError:
                    continue
                taken.add(count)
                assert max(map(sum, held(schedule, layout, rank))) == max_in_flight(layout, count, rank)
    assert (
        taken == {count for count in range(1, 31) if layout.round_up_microbatches(count) == count} < set(range(1, 31))
    )
    assert all(
        layout.round_up_microbatches(count) == min(n for n in taken if n >= count) for count in range(1, max(taken))
    )
    work = Workload(8192, 13 * 4)
    assert work.num_micro_batches(Layout(pp=4, dp=4)) == 15  # 13 make no three equal rounds
