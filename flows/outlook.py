"""Says what a reproduction is going to do and about how long it takes, or what it has done.

python -m flows.outlook
python -m flows.outlook --done
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows import ui
from flows.execution.dag import Dag, is_tracked
from flows.parameters import Parameters
from flows.project import ROOT
from flows.tracking.events import EVENTS, FACTS, alive
from stages.interface import StageError

REPORT = ROOT / "reports" / "index.html"
OVERHEAD = 5.0
"""Seconds that DVC and the start of a process take per stage, beside another stage, measured."""
WORKERS = 2
"""Stages at a time, as in `make repro`."""
TAIL = 1 << 18
"""Bytes at the end of an event log that are sure to hold the beginning of its last event."""


def before() -> Iterator[str]:
    """What `dvc repro` would do now."""
    parameters = Parameters(ROOT)
    dag = Dag.read(ROOT)
    stale = dag.stale()
    yield f"scale {parameters.scale}: {len(dag.stages)} stages, {len(stale) or 'none'} to run{_names(stale)}"
    if stale:
        yield f"takes about {_forecast(dag, stale, parameters)}"
        yield f"report: will be {_shown(REPORT)}"
    elif REPORT.exists():
        yield f"report: {_shown(REPORT)}"
    yield from _pages()


def after() -> Iterator[str]:
    """What the latest reproduction has done."""
    folders = list(_reproductions())
    if folders:
        ends = [end for path in folders[0].glob("*.jsonl") if (end := _end(path))]
        facts = json.loads((folders[0] / FACTS).read_text())
        if ends:
            seconds = max(end["time"] for end in ends) - facts["started"]
            failed = [end for end in ends if end["status"] != "finished"]
            tail = f", {len(failed)} of them failed" if failed else ""
            yield f"the last reproduction ran {len(ends)} stages in {_duration(seconds)}{tail} (scale {facts['scale']})"
    yield f"report: {_shown(REPORT)}" if REPORT.exists() else "report: not made yet"
    models = sorted(ROOT.glob("models/*/chat"))
    for model in models:
        yield f"model: {_shown(model)}"
    if models:
        yield f"talk to one: python -m flows.chat {_shown(models[0])}"
    yield from _pages()


def durations(scale: str) -> dict[str, float]:
    """Seconds that each stage took when it last finished at this scale, by the name of its event log."""
    found: dict[str, float] = {}
    for folder in _reproductions():
        if json.loads((folder / FACTS).read_text())["scale"] != scale:
            continue
        for path in folder.glob("*.jsonl"):
            end = None if path.stem in found else _end(path)
            if end and end["status"] == "finished":
                found[path.stem] = end["seconds"]
    return found


def _forecast(dag: Dag, stale: list[str], parameters: Parameters) -> str:
    known = durations(parameters.scale)
    names = [name for name in stale if is_tracked(dag.stages[name])]
    if all(name in known for name in names):
        seconds = {name: known.get(name, 0) + OVERHEAD for name in stale}
        return f"{_duration(dag.makespan(seconds, WORKERS))}, {WORKERS} stages at a time, going by the last time"
    budget = parameters.resolved.get("budget_minutes")
    return f"{budget} minutes at most on two cores, if all has to run" if budget else "an unknown time: it never ran"


def _end(path: Path) -> dict[str, Any] | None:
    """Status, time and seconds of the last event of a log, if that is an end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().splitlines()
    try:
        event = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    return event if event["event"] == "end" else None


def _reproductions() -> Iterator[Path]:
    """The folders of the reproductions, latest first."""
    for facts in sorted(EVENTS.glob(f"*/{FACTS}"), reverse=True):
        yield facts.parent


def _pages() -> Iterator[str]:
    running = {name: server["page"] for name, server in ui.read().items() if alive(server)}
    names = {"prefect": "Prefect", "mlflow": "MLflow"}
    yield from (f"{names[name]}: {url}" for name, url in sorted(running.items()))
    if not running:
        yield "watch it: `make ui` starts Prefect's and MLflow's pages"


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return f": {shown}{' ...' if len(names) > 6 else ''}" if names else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.outlook", description=__doc__.split("\n")[0])
    parser.add_argument("--done", action="store_true", help="say what has been done")
    try:
        for line in after() if parser.parse_args().done else before():
            print(line)
    except StageError as error:
        sys.exit(f"outlook: {error}")


if __name__ == "__main__":
    main()
