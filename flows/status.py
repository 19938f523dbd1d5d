"""Show what `herd repro` would run and how long it takes, or what it has done.

Examples:
    herd status           # the stages that are out of date, and the expected time
    herd status --last    # the last reproduction: time, report, models
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import command
from flows.parameters import Parameters
from flows.project import ROOT
from flows.tracking.events import EVENTS, METADATA, is_running
from flows.tracking.prefect_server import read_addresses

if TYPE_CHECKING:  # imports dvc
    from flows.execution.dag import Dag

REPORT = ROOT / "reports" / "index.html"
OVERHEAD = 5.0
"""Seconds per stage for DVC and the start of a process, measured with another stage running."""
TAIL = 1 << 18
"""Bytes at the end of an event log that are sure to hold its last event."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", action="store_true", help="show what the last reproduction has done")


def main(options: argparse.Namespace) -> None:
    if options.last:
        lines = format_results()
    else:
        from flows.execution.dag import Dag

        dag = Dag.read(ROOT)
        lines = format_forecast(dag, dag.stale(), Parameters(ROOT))
    for line in lines:
        print(line)


def format_forecast(dag: "Dag", stale: list[str], parameters: Parameters, workers: int = 2) -> Iterator[str]:
    """What `herd repro` would do with `workers` stages at a time."""
    shown = ", ".join(stale[:6])
    names = f": {shown}{' ...' if len(stale) > 6 else ''}" if stale else ""
    yield f"scale {parameters.scale}: {len(dag.stages)} stages, {len(stale) or 'none'} to run{names}"
    if stale:
        yield f"takes about {_estimate(dag, stale, parameters, workers)}"
        yield f"report: will be {os.path.relpath(REPORT)}"
    elif REPORT.exists():
        yield f"report: {os.path.relpath(REPORT)}"
    yield from _format_pages()


def format_results() -> Iterator[str]:
    """What the last reproduction has done."""
    folders = _reproductions()
    if folders:
        ends = [end for path in folders[0].glob("*.jsonl") if (end := _read_end(path))]
        facts = json.loads((folders[0] / METADATA).read_text())
        if ends:
            seconds = max(end["time"] for end in ends) - facts["started"]
            failed = sum(end["status"] != "finished" for end in ends)
            tail = f", {failed} of them failed" if failed else ""
            yield f"the last reproduction ran {len(ends)} stages in {_duration(seconds)}{tail} (scale {facts['scale']})"
    yield f"report: {os.path.relpath(REPORT)}" if REPORT.exists() else "report: not written yet"
    models = [os.path.relpath(path) for path in sorted(ROOT.glob("models/*/chat"))]
    yield from (f"model: {model}" for model in models)
    if models:
        yield f"talk to a model: herd chat {models[0]}"
    yield from _format_pages()


def durations(scale: str) -> dict[str, float]:
    """Seconds that each stage took when it last finished at this scale, by the name of its event log."""
    found: dict[str, float] = {}
    for folder in _reproductions():
        if json.loads((folder / METADATA).read_text())["scale"] != scale:
            continue
        for path in folder.glob("*.jsonl"):
            end = None if path.stem in found else _read_end(path)
            if end and end["status"] == "finished":
                found[path.stem] = end["seconds"]
    return found


def _estimate(dag: "Dag", stale: list[str], parameters: Parameters, workers: int) -> str:
    from flows.execution.dag import is_tracked

    known = durations(parameters.scale)
    if all(name in known for name in stale if is_tracked(dag.stages[name])):
        seconds = {name: known.get(name, 0) + OVERHEAD for name in stale}
        return f"{_duration(dag.makespan(seconds, workers))} with {workers} stages at a time, as in earlier runs"
    budget = parameters.resolved.get("budget_minutes")
    return f"{budget} minutes at most on two cores, if all stages run" if budget else "an unknown time: no earlier run"


def _read_end(path: Path) -> dict[str, Any] | None:
    """Status, time and seconds of a finished log's last event; None while the stage runs."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().splitlines()
    try:
        event = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    return event if event["event"] == "end" else None


def _reproductions() -> list[Path]:
    """The folders of the reproductions, latest first."""
    return [path.parent for path in sorted(EVENTS.glob(f"*/{METADATA}"), reverse=True)]


def _format_pages() -> Iterator[str]:
    titles = {"prefect": "Prefect", "mlflow": "MLflow"}
    running = {name: server["page"] for name, server in read_addresses().items() if is_running(server)}
    yield from (f"{titles[name]}: {url}" for name, url in sorted(running.items()))
    if not running:
        yield "`herd ui start` starts the pages of Prefect and MLflow"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
