"""Whether somebody watches: a stage runs as a flow if a Prefect server answers, and plainly if none does.

Importing Prefect costs over a second and a lost server up to minutes, so this file decides before either is paid.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from flows.execution.context import StageContext
from flows.project import STATE
from stages.interface import Metrics

ADDRESSES = STATE / "ui.json"
"""Written by flows.ui: the processes and addresses of the servers it has started."""

PARENT = "HERD_PREFECT_PARENT"
"""The task run that stands for this stage in the flow run of flows.reproduce."""


def server() -> str | None:
    """The address of the API of the Prefect server that answers within a second, if one does."""
    address = os.environ.get("PREFECT_API_URL") or _started().get("prefect", {}).get("api")
    return address if address and answers(f"{address.rstrip('/')}/health") else None


def connect() -> bool:
    """Whether a server answers; sets what Prefect, imported after this, needs to talk to it."""
    address = server()
    if address:
        os.environ["PREFECT_API_URL"] = address
        os.environ.setdefault("PREFECT_HOME", str(STATE / "prefect"))
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # the stages say themselves what went wrong
    return address is not None


def answers(url: str) -> bool:
    """Whether `url` answers a GET with success within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def run(stage: str, name: str, context: StageContext, body: Callable[[], Metrics], facts: Mapping[str, Any]) -> Metrics:
    """`body()`, shown as the run `name` of the flow `stage` if a Prefect server answers; `facts` are its parameters."""
    if not connect():
        say_plainly(context.folder)
        return body()
    try:
        from flows.tracking import prefect_stage as prefect_run
    except ImportError as error:
        context.note(f"Prefect cannot be imported ({error}); running plainly")
        return body()
    return prefect_run.run(stage, name, context, body, facts)


def leave(code: int) -> NoReturn:
    """Ends this process. A Prefect client waits at its normal end for a server that may be gone, so not normally."""
    if "prefect" in sys.modules:
        from flows.tracking import prefect_stage as prefect_run

        prefect_run.deliver(seconds=5)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def say_plainly(folder: Path) -> None:
    """Says that nobody watches; once per reproduction, not once per stage."""
    try:
        (folder / "plain").touch(exist_ok=False)
    except OSError:
        return
    print("no Prefect server; running plainly (`python -m flows.ui start` starts one)", file=sys.stderr)


def _started() -> dict[str, Any]:
    try:
        return json.loads(ADDRESSES.read_text())
    except (OSError, ValueError):
        return {}
