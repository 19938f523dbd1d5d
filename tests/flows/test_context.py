import os
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.execution.context import StageContext
from stages.interface import StageError
from tests.flows.workers import die_once


def test_results_come_in_the_order_of_the_items(context: StageContext) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 * (4 - item))
        return item * item

    assert context.map("square", slow_first, range(5)) == [0, 1, 4, 9, 16]
    assert context.map("none", slow_first, []) == []


def test_no_more_items_at_a_time_than_workers(context: StageContext) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(item: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    context.map("work", work, range(12))
    assert most == 3


def test_a_worker_process_that_dies_is_replaced_once(context: StageContext, tmp_path: Path) -> None:
    (pid,) = context.map("die", die_once, [str(tmp_path / "died")], kind="process")
    assert pid != os.getpid()


def test_an_error_of_the_stage_is_final(context: StageContext) -> None:
    tried = []

    def refuse(item: int) -> None:
        tried.append(item)
        raise StageError("no")

    with pytest.raises(StageError, match="no"):
        context.map("refuse", refuse, [1])
    assert tried == [1]


def test_progress_is_a_line_now_and_then_where_nobody_watches_live(
    context: StageContext, capsys: pytest.CaptureFixture[str]
) -> None:
    for done in range(1, 1001):
        context.progress("steps", done, 1000)
    context.close()
    assert capsys.readouterr().err.count("\r") <= 3
    assert not sys.stderr.isatty()
