"""A reproduction as one flow run on a Prefect server: a task per stage with the DAG's edges, the stages' own flow runs
as its children."""

import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRunResult
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Completed, Failed, Pending

from flows.execution.reproduction import Observer, RunStage
from flows.tracking.prefect_calls import ObservedCall, report_lost_server, retry_if_busy, run_named_flow
from flows.tracking.prefect_server import PARENT


class FlowObserver:
    """Shows a reproduction; satisfies `flows.execution.reproduction.Observer`."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()  # gives the flow run to the threads that run the stages
        self._states: dict[str, State] = {}

    def stage(self, name: str, needs: list[str], run: RunStage) -> None:
        """`run` as the task run `name`, after those of `needs`."""
        placeholder: UUID | None = None

        def create_variables() -> dict[str, str]:
            nonlocal placeholder
            placeholder = _create_placeholder(name)
            return {PARENT: str(placeholder)} if placeholder else {}

        def run_task() -> State | None:
            try:
                observed.invoke()
            finally:
                if placeholder:
                    _end_placeholder(placeholder, observed)
            return None if observed.value else Completed(name="Cached", message="up to date")

        observed = ObservedCall(lambda: run(create_variables))
        task = Task(fn=run_task, name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
        upstream = [self._states[need] for need in needs if need in self._states]

        def observe() -> None:
            self._states[name] = self._context.copy().run(task, wait_for=upstream, return_state=True)

        observed.run_in(observe)


def run(name: str, scale: str, work: Callable[[Observer], None]) -> None:
    """`work` as a run of the flow "reproduce"."""

    def reproduce(scale: str) -> None:
        observed.invoke()

    observed = ObservedCall(lambda: work(FlowObserver()))
    flow = Flow(reproduce, name="reproduce", persist_result=False, log_prints=False)
    observed.run_in(lambda: run_named_flow(flow, f"{scale} {name}", {"scale": scale}, [name]))


def _create_placeholder(name: str) -> UUID | None:
    """A task run that becomes the parent of a stage's flow run, which another process creates."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if not (flow and flow.flow_run and task):
        return None
    placeholder = Task(fn=_create_placeholder, name=name)  # is never called
    parents: dict[str, Any] = {"__parents__": [TaskRunResult(id=task.task_run.id)]}
    try:
        with get_client(sync_client=True) as client:
            request = partial(
                client.create_task_run,
                placeholder,
                flow.flow_run.id,
                str(uuid4()),
                name=name,
                state=Pending(),
                task_inputs=parents,
            )
            return retry_if_busy(request).id
    except Exception as error:
        report_lost_server(error)
        return None


def _end_placeholder(task_run: UUID, observed: ObservedCall[bool]) -> None:
    """Ends a placeholder; it would stay pending if its stage created no flow run."""
    state: State = Failed() if observed.error else Completed() if observed.value else Completed(name="Cached")
    try:
        with get_client(sync_client=True) as client:
            retry_if_busy(lambda: client.set_task_run_state(task_run, state, force=True))
    except Exception as error:
        report_lost_server(error)
