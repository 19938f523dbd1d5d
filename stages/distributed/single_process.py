"""A single process that also resumes from the checkpoints of a process group."""

from collections.abc import Callable
from pathlib import Path

from stages.training.checkpoint import TrainingState, is_sharded, newest_checkpoint
from stages.training.strategy import SingleProcess


class ReshardingSingleProcess(SingleProcess):
    """The strategy of a stage's own process: the same stage may have been started on several ranks before."""

    def load_checkpoint(self, state: TrainingState, scratch: Path, note: Callable[[str], None]) -> bool:
        if is_sharded(newest_checkpoint(scratch)):
            from stages.distributed import sharded_checkpoint  # seldom needed, and slow to import

            if sharded_checkpoint.load_checkpoint(state, scratch, note):
                return True
        return super().load_checkpoint(state, scratch, note)
