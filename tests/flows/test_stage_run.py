"""One process at a time works on a stage."""

from pathlib import Path

import pytest

from flows.execution.stage_run import lock_scratch
from stages.interface import StageError


def test_two_processes_do_not_work_on_the_same(tmp_path: Path) -> None:
    held = lock_scratch(tmp_path, "pretraining.initial")
    with pytest.raises(StageError, match=r"another process runs the same stage in .*; wait for it, or stop it"):
        lock_scratch(tmp_path, "pretraining.initial")
    held.release()
    lock_scratch(tmp_path, "pretraining.initial").release()
