"""A stage as a flow run on a Prefect server: its fan-out as tasks, its progress and results as artifacts.

Whatever happens to the server, the work goes on and its result stands: `Outcome` keeps what a function has come to
apart from what the watcher made of it.
"""

import contextvars
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic
from uuid import UUID

from prefect import Flow, Task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.states import Pending

from flows.execution.context import CRASHES, StageContext
from flows.tracking.events import numbers
from flows.tracking.prefect_server import PARENT
from stages.interface import Metrics, R, Record

INTERVAL = 2.0
"""Seconds between two updates of a progress artifact."""
ROWS = 500
"""Longer tables are cut on Prefect's page; the event log and MLflow have them whole."""
TRIES = 10
"""Requests that a busy server may refuse before it counts as lost."""

_said = threading.Event()


class Outcome(Generic[R]):
    """What a function has come to, whatever happened to whoever watched it run."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call = call
        self._done = False
        self.value: R
        self.error: BaseException | None = None

    def attempt(self) -> None:
        """Calls the function; called again by a watcher that retries."""
        self.error = None
        try:
            self.value = self._call()
        except BaseException as error:
            self.error = error
            raise
        self._done = True

    def under(self, watcher: Callable[[], Any]) -> R:
        """The function's value or its own exception, with `watcher` expected to call `attempt`."""
        try:
            watcher()
        except Exception as error:
            if error is not self.error:
                lost(error)
            if not self._done and self.error is None:  # the watcher failed before the work began
                self.attempt()
        if self.error is not None:
            raise self.error
        return self.value


class FlowWatch:
    """Shows one stage's run; satisfies `flows.execution.context.Watch`. A thread of its own talks to the server."""

    def __init__(self, name: str) -> None:
        self._slug = slug(name)
        self._context = contextvars.copy_context()  # names the flow run to all that is created in it
        self._progress: dict[str, float] = {}
        self._shown: dict[str, tuple[UUID, float]] = {}
        self._tables: list[tuple[str, list[dict[str, Any]]]] = []
        self._notes: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._context.copy().run, args=(self._publish,), daemon=True)
        self._thread.start()

    def progress(self, name: str, done: float, total: float) -> None:
        self._progress[name] = 100 * done / total if total else 100.0

    def table(self, name: str, rows: Sequence[Record]) -> None:
        self._tables.append((name, [dict(row) for row in rows[:ROWS]]))

    def task(self, name: str, call: Callable[[], R]) -> R:
        """`call()` as the task run `name`."""
        outcome = Outcome(call)
        task = Task(
            fn=outcome.attempt,
            name=name.rpartition("-")[0],
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=1,
            retry_condition_fn=_crashed,
        )
        return outcome.under(lambda: self._context.copy().run(task))

    def finish(self, metrics: Metrics, notes: Sequence[str]) -> None:
        """Shows the results, as long as the server takes them."""
        self.table("result", [{"metric": path, "value": value} for path, value in numbers(metrics)])
        self._notes = list(notes)
        self._end.set()
        self._thread.join(timeout=10)

    def _publish(self) -> None:
        try:
            while not self._end.wait(INTERVAL):
                self._show()
            self._show()
            if self._notes:
                insist(partial(create_markdown_artifact, "\n\n".join(self._notes), key=f"{self._slug}-notes"))
        except Exception as error:
            lost(error)  # the event log has all of it

    def _show(self) -> None:
        for name, percent in list(self._progress.items()):
            if name not in self._shown:
                key = f"{self._slug}-{slug(name)}"
                identity = insist(partial(create_progress_artifact, percent, key=key, description=name))
                assert isinstance(identity, UUID)  # not a coroutine, as this thread has no event loop
                self._shown[name] = (identity, percent)
            elif self._shown[name][1] != percent:
                identity = self._shown[name][0]
                insist(partial(update_progress_artifact, identity, percent))
                self._shown[name] = (identity, percent)
        while self._tables:
            name, rows = self._tables.pop(0)
            insist(partial(create_table_artifact, rows, key=f"{self._slug}-{slug(name)}", description=name))


def run(stage: str, name: str, context: StageContext, body: Callable[[], Metrics], facts: Mapping[str, Any]) -> Metrics:
    """`body()` as the run `name` of the flow `stage`, with `facts` (parameters, inputs, outputs) as its parameters."""

    def watched(parameters: Any, inputs: Any, outputs: Any) -> None:
        context.watch = watch = FlowWatch(name)
        outcome.attempt()
        watch.finish(outcome.value, context.notes)

    outcome = Outcome(body)
    flow = Flow(watched, name=stage, persist_result=False, validate_parameters=False, log_prints=False)

    outcome.under(lambda: observe(flow, name, dict(facts), [context.folder.name], os.environ.get(PARENT)))
    return outcome.value


def observe(
    flow: Flow[..., Any], name: str, parameters: dict[str, Any], tags: Sequence[str], parent: str | None = None
) -> None:
    """Runs a flow under a name; `parent` is a task run of another process that stands for it there."""
    with get_client(sync_client=True) as client:
        flow_run = insist(
            lambda: client.create_flow_run(
                flow,
                name=name,
                parameters=parameters,
                state=Pending(),
                tags=tags,
                parent_task_run_id=UUID(parent) if parent else None,
            )
        )
    run_flow(flow, flow_run=flow_run, parameters=parameters)


def insist(request: Callable[[], R]) -> R:
    """`request()`, again where the server says that it is busy: two writers at once are too many for SQLite, often for
    some milliseconds. Prefect's own second try comes after seconds, and also where there is no server any more."""
    for _ in range(TRIES):
        try:
            return request()
        except PrefectHTTPStatusError as error:
            if error.response.status_code != 503:
                raise
            time.sleep(0.2)
    return request()


def lost(error: Exception) -> None:
    """Says, once, that the watcher has failed."""
    if not _said.is_set():
        _said.set()
        print(f"Prefect is lost, the work goes on: {type(error).__name__}: {error}", file=sys.stderr)


def flush_events(seconds: float) -> None:
    """Gives the events of this process, which tell the server of its tasks, some time to arrive."""
    if _said.is_set():
        return
    thread = threading.Thread(target=lambda: EventsWorker.drain_all(timeout=seconds), daemon=True)
    thread.start()
    thread.join(timeout=seconds)


def slug(name: str) -> str:
    """A name that Prefect takes for the key of an artifact."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "stage"


def _crashed(task: Any, run: Any, state: Any) -> bool:
    """Whether a task run ended for a reason that a second try may mend."""
    return isinstance(state.data, CRASHES)
