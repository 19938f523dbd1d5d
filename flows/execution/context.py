"""The context a stage gets when it runs for real: a bar in the terminal, the event log, and workers."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from flows.execution.executors import Crew, hire
from flows.parameters import Cluster
from flows.tracking.events import EventLog
from stages.interface import Curve, R, Record, T, WorkerKind

if TYPE_CHECKING:
    from stages.training.strategy import Strategy

CRASHES = (BrokenExecutor, OSError)
"""What is worth a second try: a worker process that died, a file that could not be read; not a stage's own error."""

PROGRESS = 0.5
"""Least seconds between two events that tell how far a stage is."""

TASKS = 200
"""Items of one `map` that are shown as tasks; more would be noise, and each costs some hundredths of a second."""


class Watch(Protocol):
    """Somebody who wants to see what a stage does."""

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
        self.watch: Watch | None = None
        self._name = name
        self._log = log
        self._cluster = cluster
        self._crews: dict[WorkerKind, Crew] = {}
        self._bar: tqdm | None = None
        self._title = ""
        self._told = 0.0

    @cached_property
    def strategy(self) -> "Strategy":
        """A single process, unless `flows.launch.joined` has set the strategy of a process group."""
        from stages.distributed.single_process import ReshardingSingleProcess  # imports torch; not every stage needs it

        return ReshardingSingleProcess()

    def progress(self, name: str, done: float, total: float) -> None:
        title = f"{self._name}: {name}"
        if self._bar is None or self._title != title:
            self._end_bar()
            self._title = title
            # Where nobody watches live, a line every 20 seconds is enough.
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
        if time.monotonic() - self._told > PROGRESS or done >= total:
            self._log.write("progress", name=name, done=done, total=total)
            self._told = time.monotonic()
        if self.watch:
            self.watch.progress(name, done, total)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log.write("scalars", step=step, values=dict(values))

    def table(self, name: str, rows: Sequence[Record]) -> None:
        self._log.write("table", name=name, rows=[dict(row) for row in rows])
        if self.watch:
            self.watch.table(name, rows)

    def note(self, text: str) -> None:
        self._log.write("note", text=text)
        self.notes.append(text)
        tqdm.write(f"{self._name}: {text}", file=sys.stderr)

    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None:
        self._log.write("child_run", name=name, parameters=dict(parameters), values=dict(values), curve=list(curve))

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        work = list(items)
        results: list[R] = []
        workers = min(self._cluster.at_a_time, len(work) or 1)
        run = self.watch.task if self.watch and len(work) <= TASKS else _twice
        if kind not in self._crews:  # for the whole stage: to start a process takes a second
            self._crews[kind] = hire(kind, self._cluster.at_a_time, self._cluster)
        crew = self._crews[kind]
        with ThreadPoolExecutor(workers) as threads:

            def task(index: int) -> R:
                return run(f"{name}-{index}", lambda: crew.run(function, work[index]))

            for result in threads.map(task, range(len(work))):
                results.append(result)
                self.progress(name, len(results), len(work))
        return results

    def close(self) -> None:
        """Lets the workers go and ends the bar that is on the screen."""
        self._end_bar()
        for crew in self._crews.values():
            crew.close()
        self._crews.clear()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _twice(name: str, call: Callable[[], R]) -> R:
    """`call()`, once more if it crashed."""
    try:
        return call()
    except CRASHES:
        return call()
