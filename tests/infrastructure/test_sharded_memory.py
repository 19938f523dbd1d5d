"""Bytes of a rank, counted by hand (3.3.2)."""

import pytest
import torch.distributed as dist

from stages.distributed.layout import Layout
from stages.infrastructure import paper
from stages.infrastructure.sharded_memory import measure_rank_memory
from stages.interface import StageError
from tests.fixtures import shape

ROW = Layout(tp=8, pp=16, dp=64, virtual_stages=8, shorter_ends=1, recompute="selective")
"""The first row of Table 4."""
TOKENS, WIDTH, HIDDEN, LAYERS = 8192, 16384, 53248, 8


@pytest.fixture(scope="module")
def middle() -> dict[str, int]:
    """The second pipeline rank."""
    return measure_rank_memory(paper.model_config("405B"), ROW, TOKENS, 32, stage=1)


def test_a_rank_of_the_papers_first_layout_by_hand(middle: dict[str, int]) -> None:
    found = middle
    matrices = 2 * WIDTH * WIDTH + 2 * WIDTH * 1024 + 3 * WIDTH * HIDDEN
    held = LAYERS * (matrices // 8 + 2 * WIDTH)  # norms are not sliced
    assert found["gathered"] == 2 * held
    assert found["parameters"] == 4 * held // 64 and found["optimizer"] == 2 * found["parameters"]
    assert found["gradients"] == 4 * held + found["parameters"]
    waiting = 7 * 16 + 2 * (16 - 1 - 1) + 1  # interleaved 1F1B: warm-up of the second rank, and the one at work
    half = 2
    kept = TOKENS * WIDTH // 8 * half  # the output, sliced by the sequence
    kept += TOKENS * WIDTH // 8 * half + TOKENS * 128 // 8 * 4  # attention: output and a float32 for each query
    kept += 2 * TOKENS * HIDDEN // 8 * half  # gate and up
    kept += 2 * TOKENS * 128 * 4  # RoPE's cosine and sine
    assert found["activations"] == pytest.approx(waiting * kept, rel=1e-6)  # and the kernel's seed
    assert found["buffers"] == 2 * LAYERS * 32 * (TOKENS // 8 * WIDTH * half)
    assert not dist.is_initialized()


def test_the_last_rank_needs_less_than_the_second(middle: dict[str, int]) -> None:
    last = measure_rank_memory(paper.model_config("405B"), ROW, TOKENS, 32, stage=15)
    assert last["activations"] > middle["activations"] / 2 and sum(last.values()) < sum(middle.values())


@pytest.mark.parametrize("row", paper.TABLE_4[::2], ids=lambda row: f"{row['gpus']}-{row['length']}")
def test_the_layouts_of_table_4_fit_80_gb_with_selective_recomputation(row: dict[str, int]) -> None:
    found = paper.rank_memory_of_row(row)
    assert found["fits"] and found["least_recompute"] == "selective"
    assert found["bytes"]["none"]["total"] > 2 * paper.GPU_MEMORY > 2 * found["bytes"]["selective"]["total"]


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
