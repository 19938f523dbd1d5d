"""What fits and what is refused, in plain arithmetic (3.3.2)."""

import subprocess
import sys

import pytest

from stages.distributed.layout import Layout
from stages.infrastructure.paper import model_config
from stages.interface import StageError

ROW = Layout(tp=8, pp=16, dp=128, virtual_stages=8, shorter_ends=1)


def test_the_papers_layout_has_an_embedding_only_and_a_head_only_stage() -> None:
    runs = ROW.layers(126)
    assert len(runs) == ROW.num_stages == 128
    assert [len(run) for run in runs] == [0, *[1] * 126, 0]
    assert [index for run in runs for index in run] == list(range(126))
    each = [sum(len(runs[stage]) for stage in range(rank, 128, 16)) for rank in range(16)]
    assert each == [7, *[8] * 14, 7] == [ROW.layers_on_rank(126, rank) for rank in range(16)]
    assert ROW.bubble(16) == pytest.approx(15 / (8 * 16)) and Layout().bubble(4) == 0
    assert ROW.world_size == 16_384


def test_each_context_parallel_rank_has_the_same_work() -> None:
    layout = Layout(cp=4)
    chunks = [layout.chunks(rank) for rank in range(4)]
    assert sorted(chunk for pair in chunks for chunk in pair) == list(range(8))
    assert {sum(pair) for pair in chunks} == {7}  # keys that the queries of both see, in chunks


@pytest.mark.parametrize(
    ("layout", "length", "ranks", "message"),
    [
        (Layout(tp=8, dp=2), 8192, 8, r"= 16, but 8 ranks started"),
        (Layout(tp=16), 8192, None, r"num_key_value_heads 8 is no multiple of tp 16"),
        (Layout(tp=3), 8192, None, r"num_attention_heads 128 is no multiple of tp 3"),
        (Layout(cp=3), 8192, None, r"not cut into 2 x cp = 6 chunks"),
        (Layout(tp=8, cp=2), 4 * 1025, None, r"no multiple of tp 8"),
        (Layout(pp=16), 8192, None, r"126 layers and 0 less at either end do not give 16 equal stages"),
        (Layout(virtual_stages=2), 8192, None, r"need pp above 1"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(layout: Layout, length: int, ranks: int | None, message: str) -> None:
    with pytest.raises(StageError, match=message):
        layout.check(model_config("405B"), length, ranks)


def test_layouts_do_not_import_torch() -> None:
    code = "import sys, stages.distributed.layout; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
