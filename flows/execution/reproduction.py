"""Runs the stages of a DAG, several at a time, each by DVC in a process of its own."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from flows.execution.dag import Dag
from flows.execution.display import Display
from flows.project import ROOT, environment
from stages.interface import StageError

Variables = dict[str, str]
"""Environment variables for a stage's process, in addition to those of this process."""
RunStage = Callable[[Callable[[], Variables]], bool]
"""Runs one stage if it is stale, with the variables that the argument returns; returns whether it was stale."""

UNINFORMATIVE = re.compile(
    r"(Updating lock file|Generating lock file|Use `dvc push`|To track the changes|\tgit add|"
    r"To enable auto staging|\tdvc config|> )"
)
"""Lines that DVC prints after every stage and that are not shown."""


class Observer(Protocol):
    """Follows a reproduction, for example as a flow run on a Prefect server."""

    def stage(self, name: str, needs: list[str], run: RunStage) -> None:
        """Calls `run`, which runs the stage `name`, after the stages `needs`."""


class NullObserver:
    """Runs stages without showing them anywhere."""

    def stage(self, name: str, needs: list[str], run: RunStage) -> None:
        run(Variables)


class Reproduction:
    """One reproduction of a DAG, with `workers` stages at a time; stages that are not `stale` are skipped."""

    def __init__(self, dag: Dag, stale: Collection[str], workers: int, display: Display) -> None:
        self._dag = dag
        self._stale = stale
        self._workers = workers
        self._display = display
        self._stopped = threading.Event()

    def run(self, observer: Observer) -> None:
        """Runs every stage after those it needs. At the first failure starts no other stage and raises StageError."""
        waiting = self._dag.priority_order()
        running, done = dict[Future[None], str](), set[str]()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while waiting or running:
                    for name in self._dag.take_ready(waiting, done, self._workers - len(running)):
                        running[pool.submit(self._observe, name, observer)] = name
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done.add(running.pop(future))
                        future.result()
            except BaseException:
                self._stopped.set()
                raise

    def _observe(self, name: str, observer: Observer) -> None:
        observer.stage(name, self._dag.needs[name], lambda variables: self._run_if_stale(name, variables))

    def _run_if_stale(self, name: str, variables: Callable[[], Variables]) -> bool:
        if self._stopped.is_set():
            raise StageError(f"{name}: not started")
        if name not in self._stale:  # neither this stage nor a stage above it has changed
            self._display.end(name, "up to date")
            return False
        started, text = time.monotonic(), None
        self._display.start(name)
        try:
            has_run = self._run(name, variables())
            text = f"{time.monotonic() - started:.1f} s" if has_run else "up to date"
        finally:
            self._display.end(name, text)
        return has_run

    def _run(self, name: str, variables: Variables) -> bool:
        """Has DVC run one stage; returns whether the stage was stale."""
        bars = {"HERD_BARS": "off"} if self._display.is_live else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name],
            cwd=ROOT,
            env=environment() | bars | variables,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        has_run = True
        assert process.stdout
        for line in process.stdout:
            has_run = has_run and "didn't change, skipping" not in line
            if line.strip() and not UNINFORMATIVE.match(line):
                self._display.print_line(line)
        if process.wait() != 0:
            raise StageError(f"stage {name} failed; its output is above; finished stages are kept")
        return has_run
