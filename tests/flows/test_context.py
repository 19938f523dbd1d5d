import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from flows.execution import executors
from flows.execution.context import StageContext
from flows.parameters import Cluster
from flows.tracking import events
from flows.tracking.events import EventLog, log_path
from stages.interface import StageError


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), Cluster(workers=3))


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


def die_once(path: str) -> int:
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(9)
    return os.getpid()


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


def test_a_full_disk_is_said_by_the_log_too(tmp_path: Path) -> None:
    log_path(tmp_path, "mini").symlink_to("/dev/full")
    with pytest.raises(StageError, match=r"mini\.jsonl: the disk is full; free some space and run again"):
        EventLog(tmp_path, "mini").write("note", text="a")


def test_recorded_results_do_not_make_a_commit_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROOT", tmp_path)
    assert events.git_commit() is None
    (tmp_path / "ablations/results").mkdir(parents=True)
    for name in ("code.py", "ablations/results/a.json"):
        (tmp_path / name).write_text("1")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    commit = events.git_commit()
    (tmp_path / "ablations/results/a.json").write_text("2")
    assert commit is not None and len(commit) == 40 and events.git_commit() == commit
    (tmp_path / "code.py").write_text("2")
    assert events.git_commit() == f"{commit}-dirty"


def test_progress_is_a_line_now_and_then_where_nobody_watches_live(
    context: StageContext, capsys: pytest.CaptureFixture[str]
) -> None:
    for done in range(1, 1001):
        context.progress("steps", done, 1000)
    context.close()
    assert capsys.readouterr().err.count("\r") <= 3
    assert not sys.stderr.isatty()


def in_process(item: int) -> tuple[int, int]:
    return item, os.getpid()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two worker processes that somebody has started."""
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster:
        yield cluster.scheduler_address


def test_dask_workers_do_a_fan_out_and_a_dead_one_is_replaced(scheduler: str, tmp_path: Path) -> None:
    cluster = Cluster(workers=2, runner="dask", address=scheduler)
    context = StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), cluster)
    found = context.map("where", in_process, range(20), kind="process")
    assert [item for item, _ in found] == list(range(20))
    assert os.getpid() not in {pid for _, pid in found}
    (pid,) = context.map("die", die_once, [str(tmp_path / "died")], kind="process")
    assert pid != os.getpid()


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_TIMEOUT", 0.5)
    cluster = Cluster(runner="dask", address="tcp://127.0.0.1:9")
    context = StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), cluster)
    with pytest.raises(StageError, match=r"cluster\.address: no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        context.map("where", in_process, [1], kind="process")
