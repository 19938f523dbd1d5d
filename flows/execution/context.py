"""The context of a stage that runs in the DAG: progress bar, event log, and executors."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from flows.execution.executors import Executor, make_executor
from flows.parameters import Cluster
from flows.tracking.events import EventLog
from stages.interface import Curve, R, Record, T, WorkerKind

if TYPE_CHECKING:
    from stages.training.strategy import Strategy

RETRYABLE_ERRORS = (BrokenExecutor, OSError)
"""Errors after which an item is retried: a worker process that died, a file that could not be read."""

PROGRESS_INTERVAL = 0.5
"""The fewest seconds between two progress events."""

MAX_TASKS = 200
"""Items of one `map` that are shown as tasks; each costs some hundredths of a second."""


class Observer(Protocol):
    """Shows what a stage does, for example on a Prefect server."""

    def progress(self, name: str, done: float, total: float) -> None: ...

    def table(self, name: str, rows: Sequence[Record]) -> None: ...

    def task(self, name: str, call: Callable[[], R]) -> R: ...


class StageContext:
    """Implements `stages.training.strategy.TrainingContext`."""

    def __init__(
        self, name: str, item: Mapping[str, str], scratch: Path, cache: Path, log: EventLog, cluster: Cluster
    ) -> None:
        self.item = item
        self.scratch = scratch
        self.cache = cache
        self.folder = log.path.parent
        self.notes: list[str] = []
        self.observer: Observer | None = None
        self._name = name
        self._log = log
        self._cluster = cluster
        self._executors: dict[WorkerKind, Executor] = {}
        self._bar: tqdm | None = None
        self._title = ""
        self._last_event = 0.0

    @cached_property
    def strategy(self) -> "Strategy":
        """A single process, unless `launcher.init_distributed` has set the strategy of a process group."""
        from stages.distributed.single_process import ReshardingSingleProcess  # imports torch; not every stage needs it

        return ReshardingSingleProcess()

    def progress(self, name: str, done: float, total: float) -> None:
        title = f"{self._name}: {name}"
        if self._bar is None or self._title != title:
            self._end_bar()
            self._title = title
            # Without a terminal, one line every 20 seconds is enough.
            interval = 0.2 if sys.stderr.isatty() else 20
            self._bar = tqdm(
                desc=title,
                total=total,
                mininterval=interval,
                unit_scale=True,
                dynamic_ncols=True,
                disable=os.environ.get("HERD_BARS") == "off",
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if time.monotonic() - self._last_event > PROGRESS_INTERVAL or done >= total:
            self._log.write("progress", name=name, done=done, total=total)
            self._last_event = time.monotonic()
        if self.observer:
            self.observer.progress(name, done, total)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log.write("scalars", step=step, values=dict(values))

    def table(self, name: str, rows: Sequence[Record]) -> None:
        self._log.write("table", name=name, rows=[dict(record) for record in rows])
        if self.observer:
            self.observer.table(name, rows)

    def note(self, text: str) -> None:
        self._log.write("note", text=text)
        self.notes.append(text)
        tqdm.write(f"{self._name}: {text}", file=sys.stderr)

    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None:
        self._log.write("child_run", name=name, parameters=dict(parameters), values=dict(values), curve=list(curve))

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        work = list(items)
        results: list[R] = []
        workers = min(self._cluster.max_workers, len(work) or 1)
        run = self.observer.task if self.observer and len(work) <= MAX_TASKS else _retry_once
        if kind not in self._executors:  # kept for the whole stage: starting a process takes a second
            self._executors[kind] = make_executor(kind, self._cluster.max_workers, self._cluster)
        executor = self._executors[kind]
        with ThreadPoolExecutor(workers) as threads:

            def task(index: int) -> R:
                return run(f"{name}-{index}", lambda: executor.run(function, work[index]))

            for result in threads.map(task, range(len(work))):
                results.append(result)
                self.progress(name, len(results), len(work))
        return results

    def close(self) -> None:
        """Stops the workers and ends the progress bar."""
        self._end_bar()
        for executor in self._executors.values():
            executor.close()
        self._executors.clear()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _retry_once(name: str, call: Callable[[], R]) -> R:
    """`call()`, once more after a retryable error."""
    try:
        return call()
    except RETRYABLE_ERRORS:
        return call()
