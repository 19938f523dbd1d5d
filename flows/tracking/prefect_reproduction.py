"""A reproduction as one flow run on a Prefect server: a task per stage with the DAG's edges, the stages' own flow runs
as its children."""

import contextvars
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRunResult
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Completed, Failed, Pending

from flows.tracking.prefect_server import PARENT
from flows.tracking.prefect_stage import Outcome, insist, lost, observe

if TYPE_CHECKING:
    from flows.execution.reproduction import Observer, RunStage


class FlowObserver:
    """Shows a reproduction; satisfies `flows.execution.reproduction.Observer`."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()  # names the flow run to the threads that run the stages
        self._states: dict[str, State] = {}

    def stage(self, name: str, needs: list[str], run: "RunStage") -> None:
        """`run` as the task run `name`, below those of `needs`."""
        made: UUID | None = None

        def link() -> dict[str, str]:
            nonlocal made
            made = _link(name)
            return {PARENT: str(made)} if made else {}

        def body() -> State | None:
            try:
                outcome.attempt()
            finally:
                if made:
                    _close(made, outcome)
            return None if outcome.value else Completed(name="Cached", message="up to date")

        outcome = Outcome(lambda: run(link))
        task = Task(fn=body, name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
        upstream = [self._states[need] for need in needs if need in self._states]

        def watcher() -> None:
            self._states[name] = self._context.copy().run(task, wait_for=upstream, return_state=True)

        outcome.under(watcher)


def run(name: str, scale: str, work: Callable[["Observer"], None]) -> None:
    """`work` as a run of the flow "reproduce"."""

    def reproduce(scale: str) -> None:
        outcome.attempt()

    outcome = Outcome(lambda: work(FlowObserver()))
    flow = Flow(reproduce, name="reproduce", persist_result=False, log_prints=False)
    outcome.under(lambda: observe(flow, f"{scale} {name}", {"scale": scale}, [name]))


def _link(name: str) -> UUID | None:
    """A task run that stands for the flow run of a stage, which another process makes, naming it as its parent."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if not (flow and flow.flow_run and task):
        return None
    shadow = Task(fn=_link, name=name)  # stands for a flow of another process; nothing calls it
    parents: dict[str, Any] = {"__parents__": [TaskRunResult(id=task.task_run.id)]}
    try:
        with get_client(sync_client=True) as client:
            request = partial(
                client.create_task_run,
                shadow,
                flow.flow_run.id,
                str(uuid4()),
                name=name,
                state=Pending(),
                task_inputs=parents,
            )
            return insist(request).id
    except Exception as error:
        lost(error)
        return None


def _close(link: UUID, outcome: Outcome[bool]) -> None:
    """Ends the task run of `_link`, which stays pending where no flow run came of it."""
    state: State = Failed() if outcome.error else Completed() if outcome.value else Completed(name="Cached")
    try:
        with get_client(sync_client=True) as client:
            insist(lambda: client.set_task_run_state(link, state, force=True))
    except Exception as error:
        lost(error)
