"""Calls to a Prefect server that may be busy, slow or gone: none of them can fail the work that it shows."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.states import Pending

from stages.interface import R

MAX_TRIES = 10
"""Requests that a busy server may refuse before it counts as lost."""

_is_lost = threading.Event()


class ObservedCall(Generic[R]):
    """A function that runs inside a Prefect flow or task; keeps its result when Prefect fails."""

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self._is_done = False
        self.value: R
        self.error: BaseException | None = None

    def invoke(self) -> None:
        """Calls the function; Prefect calls this again when it retries."""
        self.error = None
        try:
            self.value = self._function()
        except BaseException as error:
            self.error = error
            raise
        self._is_done = True

    def run_in(self, observer: Callable[[], Any]) -> R:
        """The function's value or its own exception. `observer` should call `invoke`; if it fails first, this does."""
        try:
            observer()
        except Exception as error:
            if error is not self.error:
                report_lost_server(error)
            if not self._is_done and self.error is None:
                self.invoke()
        if self.error is not None:
            raise self.error
        return self.value


def run_named_flow(
    flow: Flow[..., Any], name: str, parameters: dict[str, Any], tags: Sequence[str], parent: str | None = None
) -> None:
    """Runs a flow under a name; `parent` is the task run that represents it in a flow run of another process."""
    with get_client(sync_client=True) as client:
        flow_run = retry_if_busy(
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


def retry_if_busy(request: Callable[[], R]) -> R:
    """`request()`, again while the server answers that it is busy: two writers are too many for SQLite for some
    milliseconds. Prefect's own retry waits seconds, and also retries when there is no server any more."""
    for _ in range(MAX_TRIES):
        try:
            return request()
        except PrefectHTTPStatusError as error:
            if error.response.status_code != 503:
                raise
            time.sleep(0.2)
    return request()


def report_lost_server(error: Exception) -> None:
    """Prints, once, that the server has failed."""
    if not _is_lost.is_set():
        _is_lost.set()
        print(f"Prefect server lost, the stage continues: {type(error).__name__}: {error}", file=sys.stderr)


def flush_events(seconds: float) -> None:
    """Waits at most so many seconds until this process has sent its task events to the server."""
    if _is_lost.is_set():
        return
    thread = threading.Thread(target=lambda: EventsWorker.drain_all(timeout=seconds), daemon=True)
    thread.start()
    thread.join(timeout=seconds)
