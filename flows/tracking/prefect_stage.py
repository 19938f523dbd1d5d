"""A stage as a flow run on a Prefect server: its fan-out as tasks, its progress and results as artifacts."""

import contextvars
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from prefect import Flow, Task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from flows.execution.context import RETRYABLE_ERRORS, StageContext
from flows.tracking.events import flatten_numbers
from flows.tracking.prefect_calls import ObservedCall, report_lost_server, retry_if_busy, run_named_flow
from flows.tracking.prefect_server import PARENT
from stages.interface import Metrics, R, Record

INTERVAL = 2.0
"""Seconds between two updates of a progress artifact."""
MAX_ROWS = 500
"""Longer tables are cut on Prefect's page; the event log and MLflow have all rows."""


class StageFlowObserver:
    """Shows one stage's run, from a thread of its own; satisfies `flows.execution.context.Observer`."""

    def __init__(self, name: str) -> None:
        self._key = artifact_key(name)
        self._context = contextvars.copy_context()  # gives the flow run to all that is created in it
        self._progress: dict[str, float] = {}
        self._published: dict[str, tuple[UUID, float]] = {}
        self._tables: list[tuple[str, list[dict[str, Any]]]] = []
        self._notes: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._context.copy().run, args=(self._publish_until_end,), daemon=True)
        self._thread.start()

    def progress(self, name: str, done: float, total: float) -> None:
        self._progress[name] = 100 * done / total if total else 100.0

    def table(self, name: str, rows: Sequence[Record]) -> None:
        self._tables.append((name, [dict(row) for row in rows[:MAX_ROWS]]))

    def task(self, name: str, call: Callable[[], R]) -> R:
        """`call()` as the task run `name`."""
        observed = ObservedCall(call)
        task = Task(
            fn=observed.invoke,
            name=name.rpartition("-")[0],
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=1,
            retry_condition_fn=_is_retryable,
        )
        return observed.run_in(lambda: self._context.copy().run(task))

    def finish(self, metrics: Metrics, notes: Sequence[str]) -> None:
        """Publishes the results; waits at most 10 seconds for the server."""
        self.table("result", [{"metric": path, "value": value} for path, value in flatten_numbers(metrics)])
        self._notes = list(notes)
        self._ended.set()
        self._thread.join(timeout=10)

    def _publish_until_end(self) -> None:
        try:
            while not self._ended.wait(INTERVAL):
                self._publish()
            self._publish()
            if self._notes:
                text, key = "\n\n".join(self._notes), f"{self._key}-notes"
                retry_if_busy(partial(create_markdown_artifact, text, key=key))
        except Exception as error:
            report_lost_server(error)  # the event log has everything

    def _publish(self) -> None:
        for name, percent in list(self._progress.items()):
            if name not in self._published:
                key = f"{self._key}-{artifact_key(name)}"
                artifact = retry_if_busy(partial(create_progress_artifact, percent, key=key, description=name))
                assert isinstance(artifact, UUID)  # not a coroutine, as this thread has no event loop
                self._published[name] = (artifact, percent)
            elif self._published[name][1] != percent:
                artifact = self._published[name][0]
                retry_if_busy(partial(update_progress_artifact, artifact, percent))
                self._published[name] = (artifact, percent)
        while self._tables:
            name, rows = self._tables.pop(0)
            key = f"{self._key}-{artifact_key(name)}"
            retry_if_busy(partial(create_table_artifact, rows, key=key, description=name))


def run(
    stage: str, name: str, context: StageContext, body: Callable[[], Metrics], parameters: Mapping[str, Any]
) -> Metrics:
    """`body()` as the run `name` of the flow `stage`; `parameters` holds the stage's parameters, inputs and outputs."""

    def run_observed(parameters: Any, inputs: Any, outputs: Any) -> None:
        context.observer = observer = StageFlowObserver(name)
        observed.invoke()
        observer.finish(observed.value, context.notes)

    observed = ObservedCall(body)
    flow = Flow(run_observed, name=stage, persist_result=False, validate_parameters=False, log_prints=False)
    tags, parent = [context.folder.name], os.environ.get(PARENT)
    return observed.run_in(lambda: run_named_flow(flow, name, dict(parameters), tags, parent))


def artifact_key(name: str) -> str:
    """`name` in the characters that Prefect accepts in an artifact's key."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "stage"


def _is_retryable(task: Any, run: Any, state: Any) -> bool:
    """Whether a task run failed for a reason that a retry may fix."""
    return isinstance(state.data, RETRYABLE_ERRORS)
