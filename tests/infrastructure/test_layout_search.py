"""Layouts: those that cannot run, all that can, and the fastest."""

from dataclasses import replace

import pytest

from stages.distributed.layout import Layout
from stages.infrastructure.layout_search import (
    Workload,
    balance_layout,
    enumerate_layouts,
    find_problems,
    num_pipeline_units,
)
from stages.infrastructure.memory_model import count_rank_parameters
from stages.infrastructure.step_time import find_best_layouts, step_time
from stages.model.llama import LlamaConfig
from tests.infrastructure.table_4 import FLAGSHIP, FUSED, H100, TABLE_4


@pytest.mark.parametrize("layout, work, row", TABLE_4)
def test_no_layout_beats_the_papers_by_much(layout: Layout, work: Workload, row: dict) -> None:
    cluster = replace(H100, devices=row["gpus"])
    result = find_best_layouts(FLAGSHIP, work, cluster, FUSED, recompute="selective")
    seconds = [option.seconds for option in result]
    assert len(result) == 5 and seconds == sorted(seconds)
    for option in result:
        assert find_problems(option.layout, FLAGSHIP, work, cluster) == []
        assert option.layout.recompute == "selective"
        assert option.bytes <= 80e9
    papers = step_time(FLAGSHIP, layout, work, H100).total
    assert seconds[0] <= papers < 1.05 * seconds[0]


@pytest.mark.parametrize(
    "change, named",
    [
        ({"dp": 64}, "= 8,192 is not the 16,384 devices"),
        ({"tp": 16, "dp": 64}, "num_key_value_heads 8 is no multiple of tp 16"),
        ({"tp": 16, "dp": 64}, "tp 16 leaves the node"),
        ({"tp": 3}, "num_attention_heads 128 is no multiple of tp 3"),
        ({"pp": 20}, "126 layers and 1 less at either end do not give 20 equal stages"),
        ({"cp": 3}, "sequences of 8192 tokens are not cut into 2 x cp = 6 chunks"),
        ({"dp": 3}, "a batch of 2,048 sequences cannot be divided by dp 3 x 1 per micro-batch; 2,046 can"),
    ],
)
def test_a_layout_that_cannot_run_is_told_why(change: dict, named: str) -> None:
    layout = Layout(**({"tp": 8, "cp": 1, "pp": 16, "dp": 128, "shorter_ends": 1} | change))
    result = find_problems(layout, FLAGSHIP, Workload(8192, 2048), H100)
    assert any(named in problem for problem in result), result


def test_candidates_are_all_that_have_no_problem() -> None:
    model, work = LlamaConfig(256, 64, 6, 8, 4, 192), Workload(64, 16)
    cluster = replace(H100, devices=16, devices_per_node=4)
    result = set(enumerate_layouts(model, work, cluster))
    every = {
        balance_layout(Layout(tp=tp, cp=cp, pp=pp, dp=16 // (tp * cp * pp), virtual_stages=virtual), model)
        for tp in (1, 2, 4, 8, 16)
        for cp in (1, 2, 4, 8, 16)
        for pp in (1, 2, 4, 8, 16)
        for virtual in range(1, 9)
        if 16 % (tp * cp * pp) == 0
    }
    runs = {layout for layout in every if not find_problems(layout, model, work, cluster)}
    assert result == runs and len(result) > 10


def test_a_pipeline_holds_each_layer_once() -> None:
    """3.3.2: one layer less on the first and on the last stage: 126 layers on 16 stages."""
    layout = balance_layout(Layout(pp=16, virtual_stages=8), FLAGSHIP)
    assert layout.shorter_ends == 1 and num_pipeline_units(FLAGSHIP) == 128
    assert balance_layout(Layout(pp=2, virtual_stages=9), FLAGSHIP).shorter_ends == 0
    whole = sum(count_rank_parameters(FLAGSHIP, layout, rank)[0] for rank in range(16))
    assert whole == FLAGSHIP.parameters
