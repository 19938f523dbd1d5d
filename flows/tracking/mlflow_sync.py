"""Copy the event logs to MLflow, in one background process per project.

Importing MLflow takes as long as some stages, so no stage does. The position in each log is saved after each batch, and
MLflow drops a point that it already has, so a process that is killed loses nothing and duplicates no point.

Examples:
    python -m flows.tracking.mlflow_sync          # follow a reproduction while it runs (each stage starts this)
    python -m flows.tracking.mlflow_sync --once   # copy what has happened so far, then end
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

from flows import command
from flows.project import STATE, environment
from flows.tracking.events import EVENTS, METADATA, is_running, output_hashes, read_lock
from stages.interface import StageError

if TYPE_CHECKING:
    from flows.tracking.mlflow_writer import MlflowWriter

POSITIONS = STATE / "tracking"
INTERVAL = 1.0
"""Seconds between two reads of the event logs."""
MAX_FAILURES = 5
"""Failures in a row after which the process ends with an error."""
BATCH = 500
"""Events that go to MLflow in one call."""


def start_in_background() -> None:
    """Starts the background process, unless one runs or HERD_TRACKING=off."""
    if os.environ.get("HERD_TRACKING") == "off":
        return
    lock = _lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    lock.release()  # two may start at the same moment; the one that gets the lock continues
    with (STATE / "tracking.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, "-m", "flows.tracking.mlflow_sync"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(),
            cwd=STATE.parent,  # not the temporary copy that an experiment runs in
        )


class LogFollower:
    """Copies the logs of one reproduction. `state` is saved whenever MLflow has accepted a batch."""

    def __init__(self, folder: Path, writer: "MlflowWriter") -> None:
        self.folder = folder
        self.metadata: dict[str, Any] = json.loads((folder / METADATA).read_text())
        self.writer = writer
        self._path = POSITIONS / f"{folder.name}.json"
        self.state: dict[str, Any] = {"offsets": {}, "runs": [], "finished": False}
        if self._path.exists():
            self.state = json.loads(self._path.read_text())
        self._parent = writer.start_reproduction(self.metadata)
        self._checked = (0.0, 0)

    def follow(self) -> None:
        """Copies the new events."""
        driver_ended = not is_running(self.metadata["driver"])  # before reading: later events are read the next time
        for path in sorted(self.folder.glob("*.jsonl")):
            while self._copy_batch(path):
                self._save_state()
        for run in self.state["runs"]:
            if run["status"] == "running" and not is_running(run["process"]):
                # It may have ended after the events were read: read again before calling it killed.
                while self._copy_batch(self.folder / run["file"]):
                    self._save_state()
                if run["status"] == "running":
                    self._end_stage(run, {"time": time.time(), "status": "killed", "error": "the process was killed"})
        self._log_output_hashes()
        if driver_ended:
            self._end_reproduction()
        self._save_state()

    def _copy_batch(self, path: Path) -> bool:
        """Copies the next batch of one stage's events; returns whether there were any."""
        batch, offset = self._read(path)
        points = []
        for event in batch:
            if event["event"] == "start":
                self.state["runs"].append(self._start_stage(path, event))
                continue
            run = next(run for run in reversed(self.state["runs"]) if run["file"] == path.name)
            if event["event"] == "scalars":
                points.append(event)
            elif event["event"] == "table":
                run["tables"] = [*dict.fromkeys([*run["tables"], event["name"]])]
                self.writer.log_table(run["id"], event["name"], event["rows"], run["tables"])
            elif event["event"] == "note":
                run["notes"].append(event["text"])
                self.writer.set_notes(run["id"], run["notes"])
            elif event["event"] == "child_run":
                self.writer.log_child_run(run["id"], self.metadata, event)
            elif event["event"] == "end":
                self.writer.log_points(run["id"], points)
                points = []
                self._end_stage(run, event)
        if points:
            run = next(run for run in reversed(self.state["runs"]) if run["file"] == path.name)
            self.writer.log_points(run["id"], points)
        self.state["offsets"][path.name] = offset
        return bool(batch)

    def _read(self, path: Path) -> tuple[list[dict[str, Any]], int]:
        """The next lines, at most BATCH, and the offset after them. Stops before a second start event, so that all
        points of a batch belong to one run."""
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

    def _start_stage(self, path: Path, event: dict[str, Any]) -> dict[str, Any]:
        run_id = self.writer.start_stage(self._parent, self.metadata, event)
        return {
            "id": run_id,
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

    def _end_stage(self, run: dict[str, Any], event: dict[str, Any]) -> None:
        self.writer.end_stage(self._parent, run["id"], run["name"], event)
        run |= {"status": event["status"], "ended": event["time"]}

    def _log_output_hashes(self) -> None:
        """Logs the md5 of the outputs, which DVC computes after the stage has ended."""
        root = Path(self.metadata["root"])
        newer = [path for path in EVENTS.iterdir() if path.name > self.folder.name]
        try:
            lock_time = (root / "dvc.lock").stat().st_mtime
        except OSError:
            return
        ended = sum(run["ended"] is not None for run in self.state["runs"])
        if self._checked == (lock_time, ended):
            return
        self._checked = (lock_time, ended)
        lock = read_lock(root)
        for run in self.state["runs"]:
            # dvc.lock holds the latest run only, and only after DVC has written it.
            latest = [other for other in self.state["runs"] if other["name"] == run["name"]][-1] is run
            if run["status"] != "finished" or not latest or lock_time < run["ended"]:
                continue
            if any((folder / run["file"]).exists() for folder in newer):
                continue
            md5 = output_hashes(lock.get(run["name"], {}))
            if md5 and md5 != run["md5"]:
                run["md5"] = md5
                self.writer.log_outputs(run["id"], run["name"], run["outputs"], md5, Path(self.metadata["root"]))

    def _end_reproduction(self) -> None:
        """Logs the stages that were up to date, and ends the reproduction's run."""
        finished = {run["name"] for run in self.state["runs"]}
        root = Path(self.metadata["root"])
        lock = read_lock(root)
        for name in _cached_stages(root, finished):
            self.writer.log_cached_stage(self._parent, self.metadata, name, output_hashes(lock.get(name, {})))
        self.writer.end_reproduction(self._parent, [run["status"] for run in self.state["runs"]])
        self.state["finished"] = True

    def _save_state(self) -> None:
        POSITIONS.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self.state))
        draft.replace(self._path)


def _cached_stages(root: Path, finished: set[str]) -> Iterator[str]:
    """The stages that DVC considers up to date, without those in `finished`."""
    from flows.execution.dag import Dag, is_tracked

    if not (root / "dvc.lock").exists():  # also if the temporary copy of an experiment is gone
        return
    dag = Dag.read(root)
    stale = set(dag.stale())
    yield from (name for name, stage in dag.stages.items() if is_tracked(stage) and name not in stale | finished)


def pending_reproductions() -> list[Path]:
    """The folders of the reproductions that are not fully copied, oldest first."""
    pending = []
    for metadata in sorted(EVENTS.glob(f"*/{METADATA}")):
        state = POSITIONS / f"{metadata.parent.name}.json"
        if not state.exists() or not json.loads(state.read_text())["finished"]:
            pending.append(metadata.parent)
    return [folder for folder in pending if any(folder.glob("*.jsonl"))]


def follow(once: bool) -> None:
    """Copies all pending reproductions until they are finished, or once."""
    from flows.tracking.mlflow_writer import MlflowWriter

    writer = MlflowWriter()
    followers: dict[Path, LogFollower] = {}
    failures = 0
    while folders := pending_reproductions():
        try:
            for folder in folders:
                if folder not in followers:
                    followers[folder] = LogFollower(folder, writer)
                followers[folder].follow()
            failures = 0
        except Exception:
            # A busy database or server: repeat from the saved positions.
            followers.clear()
            failures += 1
            if failures == MAX_FAILURES:
                raise
            traceback.print_exc()
        if once and not failures:
            return
        time.sleep(INTERVAL * (1 + failures))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="copy what has happened so far, and end")


def main(options: argparse.Namespace) -> None:
    once = options.once
    os.environ.update(environment())
    if not once:
        psutil.Process().nice(15)
    while pending_reproductions():
        try:
            # A background process ends soon after its driver; wait for its last batch.
            with _lock().acquire(timeout=60 if once else 0):
                follow(once)
        except Timeout:
            if once:
                raise StageError("another process follows a reproduction that still runs") from None
            return
        except Exception:
            traceback.print_exc()
            raise StageError("stopped; `python -m flows.tracking.mlflow_sync --once` continues from here") from None
        if once:
            return
        # A stage that started while the lock was held has started no process: check again.


def _lock() -> FileLock:
    STATE.mkdir(exist_ok=True)
    return FileLock(STATE / "tracking.lock")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
