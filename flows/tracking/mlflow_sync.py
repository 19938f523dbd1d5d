"""Carries the event log to MLflow, in one background process per project.

    python -m flows.tracking.mlflow_sync          follow a reproduction while it runs (each stage starts this)
    python -m flows.tracking.mlflow_sync --once   write what has happened so far, then end

Importing MLflow takes as long as some stages, so no stage does. What has been carried over is noted after each batch,
and MLflow drops a point it already has, so a process that dies here costs nothing and leaves no point twice.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from flows.project import STATE, environment
from flows.tracking.events import EVENTS, FACTS, alive, lock_file, made

if TYPE_CHECKING:
    from flows.tracking.mlflow_writer import Writer

PROGRESS = STATE / "tracking"
INTERVAL = 1.0
"""Seconds between two looks at the event logs."""
PATIENCE = 5
"""Failures in a row after which it gives up."""
BATCH = 500
"""Steps that go to MLflow in one call."""


def ensure() -> None:
    """Starts the background process unless one is there, or HERD_TRACKING=off says that none is wanted."""
    if os.environ.get("HERD_TRACKING") == "off":
        return
    lock = _lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    lock.release()  # two may start at the same moment; the lock lets one of them live
    with (STATE / "tracking.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, "-m", "flows.tracking.mlflow_sync"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(),
            cwd=STATE.parent,  # not the copy that an experiment runs in, which goes when the experiment ends
        )


class Follower:
    """Follows one reproduction. `state` is all it remembers; it is stored whenever MLflow has taken a batch."""

    def __init__(self, folder: Path, writer: "Writer") -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
        self.writer = writer
        self._path = PROGRESS / f"{folder.name}.json"
        self.state: dict[str, Any] = {"offsets": {}, "runs": [], "finished": False}
        if self._path.exists():
            self.state = json.loads(self._path.read_text())
        self._parent = writer.reproduction(self.facts)
        self._seen = (0.0, 0)

    def follow(self) -> None:
        """Carries over what is new."""
        over = not alive(self.facts["driver"])  # asked first: what is written after the answer waits for the next time
        for path in sorted(self.folder.glob("*.jsonl")):
            while self._carry(path):
                self._store()
        for run in self.state["runs"]:
            if run["status"] == "running" and not alive(run["process"]):
                # It may have ended well since the events were read; only then is it in doubt.
                while self._carry(self.folder / run["file"]):
                    self._store()
                if run["status"] == "running":
                    self._end(run, {"time": time.time(), "status": "killed", "error": "the process was killed"})
        self._settle()
        if over:
            self._finish()
        self._store()

    def _carry(self, path: Path) -> bool:
        """Carries the next batch of one stage's events; says whether there was anything."""
        batch, offset = self._read(path)
        points = []
        for event in batch:
            if event["event"] == "start":
                self.state["runs"].append(self._start(path, event))
                continue
            run = next(run for run in reversed(self.state["runs"]) if run["file"] == path.name)
            if event["event"] == "scalars":
                points.append(event)
            elif event["event"] == "table":
                run["tables"] = [*dict.fromkeys([*run["tables"], event["name"]])]
                self.writer.table(run["id"], event["name"], event["rows"], run["tables"])
            elif event["event"] == "note":
                run["notes"].append(event["text"])
                self.writer.notes(run["id"], run["notes"])
            elif event["event"] == "part":
                self.writer.part(run["id"], self.facts, event)
            elif event["event"] == "end":
                self.writer.points(run["id"], points)
                points = []
                self._end(run, event)
        if points:
            run = next(run for run in reversed(self.state["runs"]) if run["file"] == path.name)
            self.writer.points(run["id"], points)
        self.state["offsets"][path.name] = offset
        return bool(batch)

    def _read(self, path: Path) -> tuple[list[dict[str, Any]], int]:
        """Up to BATCH whole lines beyond those carried over, and the offset after them. Ends before a second start,
        so that the points of a batch belong to one run."""
        offset, batch = self.state["offsets"].get(path.name, 0), list[dict[str, Any]]()
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n") or len(batch) == BATCH:
                    break
                event = json.loads(line)
                if event["event"] == "start" and batch:
                    break
                batch.append(event)
                offset += len(line)
        return batch, offset

    def _start(self, path: Path, event: dict[str, Any]) -> dict[str, Any]:
        identity = self.writer.stage(self._parent, self.facts, event)
        return {
            "id": identity,
            "file": path.name,
            "name": event["name"],
            "process": event["process"],
            "status": "running",
            "outputs": event["outputs"],
            "tables": [],
            "notes": [],
            "md5": {},
            "ended": None,
        }

    def _end(self, run: dict[str, Any], event: dict[str, Any]) -> None:
        self.writer.end(self._parent, run["id"], run["name"], event)
        run |= {"status": event["status"], "ended": event["time"]}

    def _settle(self) -> None:
        """Writes down the md5 of what the runs have made, which DVC computes after the stage has ended."""
        root = Path(self.facts["root"])
        newer = [path for path in EVENTS.iterdir() if path.name > self.folder.name]
        try:
            written = (root / "dvc.lock").stat().st_mtime
        except OSError:
            return
        ended = sum(run["ended"] is not None for run in self.state["runs"])
        if self._seen == (written, ended):
            return
        self._seen = (written, ended)
        locked = lock_file(root)
        for run in self.state["runs"]:
            # dvc.lock tells of the latest run only, and not before DVC has written it.
            latest = [other for other in self.state["runs"] if other["name"] == run["name"]][-1] is run
            if run["status"] != "finished" or not latest or written < run["ended"]:
                continue
            if any((folder / run["file"]).exists() for folder in newer):
                continue
            md5 = made(locked.get(run["name"], {}))
            if md5 and md5 != run["md5"]:
                run["md5"] = md5
                self.writer.outputs(run["id"], run["name"], run["outputs"], md5, Path(self.facts["root"]))

    def _finish(self) -> None:
        """Links what was up to date, and closes the reproduction's run."""
        done = {run["name"] for run in self.state["runs"]}
        root = Path(self.facts["root"])
        locked = lock_file(root)
        for name in _skipped(root, done):
            self.writer.cached(self._parent, self.facts, name, made(locked.get(name, {})))
        self.writer.close(self._parent, [run["status"] for run in self.state["runs"]])
        self.state["finished"] = True

    def _store(self) -> None:
        PROGRESS.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self.state))
        draft.replace(self._path)


def _skipped(root: Path, done: set[str]) -> Iterator[str]:
    """The stages that DVC takes as up to date, without those in `done`."""
    from flows.execution.dag import Dag, is_tracked

    if not (root / "dvc.lock").exists():  # also where the copy that an experiment ran in is gone
        return
    dag = Dag.read(root)
    stale = set(dag.stale())
    yield from (name for name, stage in dag.stages.items() if is_tracked(stage) and name not in stale | done)


def unfinished() -> list[Path]:
    """The folders of the reproductions that are not yet all in MLflow, oldest first."""
    found = []
    for facts in sorted(EVENTS.glob(f"*/{FACTS}")):
        state = PROGRESS / f"{facts.parent.name}.json"
        if not state.exists() or not json.loads(state.read_text())["finished"]:
            found.append(facts.parent)
    return [folder for folder in found if any(folder.glob("*.jsonl"))]


def follow(once: bool) -> None:
    """Follows all reproductions that are not finished, until they are, or once."""
    from flows.tracking.mlflow_writer import Writer

    writer = Writer()
    followers: dict[Path, Follower] = {}
    failures = 0
    while folders := unfinished():
        try:
            for folder in folders:
                if folder not in followers:
                    followers[folder] = Follower(folder, writer)
                followers[folder].follow()
            failures = 0
        except Exception:
            # A busy database or server; what was half done is done again from what is stored.
            followers.clear()
            failures += 1
            if failures == PATIENCE:
                raise
            traceback.print_exc()
        if once and not failures:
            return
        time.sleep(INTERVAL * (1 + failures))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.tracking.mlflow_sync", description=__doc__.split("\n")[0])
    parser.add_argument("--once", action="store_true", help="carry over what there is, and end")
    once = parser.parse_args().once
    os.environ.update(environment())
    if not once:
        psutil.Process().nice(15)
    while unfinished():
        try:
            # One that follows along ends soon after the driver; its last words are worth waiting for.
            with _lock().acquire(timeout=60 if once else 0):
                follow(once)
        except Timeout:
            sys.exit("another process is following a reproduction that still runs" if once else 0)
        except Exception:
            traceback.print_exc()
            sys.exit("tracking: stopped; `python -m flows.tracking.mlflow_sync --once` goes on where this ended")
        if once:
            return
        # A stage that began while the lock was still held has started no process of its own: look once more.


def _lock() -> FileLock:
    STATE.mkdir(exist_ok=True)
    return FileLock(STATE / "tracking.lock")


if __name__ == "__main__":
    main()
