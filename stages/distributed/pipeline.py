"""The pipeline's schedule (3.3.2): interleaved 1F1B over the model parts of each rank."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, ScheduleInterleaved1F1B

from stages.distributed.layout import Layout
from stages.distributed.parallelize import ModelParts
from stages.interface import StageError


def build_pipeline_schedule(
    parts: ModelParts, microbatches: int, loss: Callable[[Tensor, Tensor], Tensor], device: str
) -> ScheduleInterleaved1F1B:
    """The schedule of a step of `microbatches` micro-batches; `loss` takes the last stage's output and the targets."""
    layout, mesh = parts.layout, parts.mesh["pp"]
    if microbatches != layout.round_up_microbatches(microbatches):
        raise StageError(
            f"layout: {microbatches} micro-batches do not give {layout.num_rounds(microbatches)} equal rounds of pp "
            f"{layout.pp} or more; {layout.round_up_microbatches(microbatches)} would"
        )
    first, group = mesh.get_local_rank(), mesh.get_group()
    stages: list[Any] = [
        PipelineStage(part, first + number * layout.pp, layout.num_stages, torch.device(device), group=group)
        for number, part in enumerate(parts.parts)
    ]
    return ScheduleInterleaved1F1B(stages, microbatches, loss_fn=loss, scale_grads=False)


def in_flight(schedule: ScheduleInterleaved1F1B, layout: Layout, rank: int) -> Iterator[list[int]]:
    """Yields, after each action of a pipeline rank, how many micro-batches of each part await their backward pass."""
    waiting = [0] * layout.virtual_stages
    for action in schedule.pipeline_order[rank]:
        if action is not None:
            waiting[action.stage_index // layout.pp] += 1 if action.computation_type.value == "F" else -1
            yield list(waiting)
