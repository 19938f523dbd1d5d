"""Runs a stage as a Prefect flow if a server answers; without a server, Prefect is not even imported."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from flows.tracking.prefect_server import connect, report_no_server
from stages.interface import Metrics

if TYPE_CHECKING:
    from flows.execution.context import StageContext


def run_stage(
    stage: str, name: str, context: "StageContext", body: Callable[[], Metrics], parameters: Mapping[str, Any]
) -> Metrics:
    """`body()`, as the run `name` of the flow `stage` with these `parameters` if a Prefect server answers."""
    if not connect():
        report_no_server(context.folder)
        return body()
    try:
        from flows.tracking import prefect_stage
    except ImportError as error:
        context.note(f"Prefect cannot be imported ({error}); running without it")
        return body()
    return prefect_stage.run(stage, name, context, body, parameters)


def exit_process(code: int) -> NoReturn:
    """Ends this process; skips Prefect's exit handlers, which wait for a server that may be gone."""
    if "prefect" in sys.modules:
        from flows.tracking import prefect_calls

        prefect_calls.flush_events(seconds=5)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
