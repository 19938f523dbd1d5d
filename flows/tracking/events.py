"""The event log: one JSON line per event of a running stage, in .herd/events/<reproduction>/<stage>.jsonl.

Stages only append to a local file. MLflow's background process and the forecast read it, so tracking does not slow down
a stage and cannot fail it. reproduction.json next to the logs holds what the stages share.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from flows.project import ROOT, STATE
from stages.interface import StageError, is_disk_full

EVENTS = STATE / "events"
METADATA = "reproduction.json"
MAX_LIST = 32
"""Longer lists in a stage's metrics are data, not numbers to compare."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def find_driver() -> psutil.Process:
    """The process that drives this reproduction: the parent `dvc` process, or this process."""
    if "DVC_STAGE" in os.environ:
        for parent in psutil.Process().parents():
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:4]):
                return parent
    return psutil.Process()


def reproduction_name() -> str:
    """The name of this process's reproduction: HERD_REPRODUCTION if a driver has set it."""
    return os.environ.get("HERD_REPRODUCTION") or process_name(find_driver())


def process_name(process: psutil.Process) -> str:
    """The name of the reproduction that `process` drives: its start time and pid."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(process.create_time()))}-{process.pid}"


def describe_process(process: psutil.Process) -> dict[str, Any]:
    """A process as JSON; the start time distinguishes it from a later one with the same pid."""
    return {"pid": process.pid, "created": process.create_time()}


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether the process that `describe_process` described still runs."""
    try:
        current = psutil.Process(process["pid"])
        return abs(current.create_time() - process["created"]) < 1 and current.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def open_reproduction(name: str, driver: psutil.Process, scale: str, parameters: Mapping[str, Any]) -> Path:
    """The folder of a reproduction; the first process that opens it writes reproduction.json."""
    folder = EVENTS / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / METADATA).exists():
        return folder
    metadata = {
        "name": name,
        "scale": scale,
        "root": str(ROOT),
        "driver": describe_process(driver),
        "started": time.time(),
        "commit": git_commit(),
        "experiment": os.environ.get("DVC_EXP_NAME"),
        "parameters": parameters,
    }
    draft = folder / f"{METADATA}.{os.getpid()}"
    draft.write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")
    try:
        os.link(draft, folder / METADATA)  # fails if another stage, started at the same moment, was faster
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return folder


def read_lock(root: Path) -> dict[str, Any]:
    """The stages of dvc.lock: name -> cmd, deps, params, outs. Empty if nothing has run yet."""
    for _ in range(20):
        try:
            return (yaml.load((root / "dvc.lock").read_bytes(), LOADER) or {}).get("stages", {})
        except FileNotFoundError:
            return {}
        except yaml.YAMLError:  # DVC writes the file in place
            time.sleep(0.1)
    return {}


def output_hashes(entry: Mapping[str, Any]) -> dict[str, str]:
    """path -> DVC's md5 of each output in a stage's entry in dvc.lock."""
    return {out["path"]: out["md5"] for out in entry.get("outs", []) if out.get("md5")}


def flatten_numbers(value: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """(path, number) of each number and boolean in a tree of metrics; keys are joined by dots."""
    if isinstance(value, bool | int | float):
        yield prefix, float(value)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from flatten_numbers(value[key], f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and len(value) <= MAX_LIST:
        for index, entry in enumerate(value):
            yield from flatten_numbers(entry, f"{prefix}.{index}")


def log_path(folder: Path, name: str) -> Path:
    """The event log of the stage `name` in a reproduction's folder."""
    return folder / f"{name.replace('/', '-')}.jsonl"


class EventLog:
    """Appends the events of one stage run: JSON objects with `event` (the kind) and `time` (Unix seconds).

    Kinds: start (stage, name, item, process, parameters, inputs, outputs, md5), scalars (step, values),
    progress (name, done, total), table (name, rows), note (text), child_run (name, parameters, values, curve), end
    (status finished, failed or killed; seconds; metrics or error).
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = log_path(folder, name)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "time": time.time(), **fields}, ensure_ascii=False) + "\n"
        try:
            self._file.write(line)
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise StageError(f"{self.path}: the disk is full; free some space and run again") from None


def git_commit() -> str | None:
    """The checked-out commit; `-dirty` is appended if files other than recorded results differ from it."""
    git = ["git", "--no-optional-locks"]
    try:
        head, changed = (
            subprocess.run([*git, *words], cwd=ROOT, check=False, capture_output=True, text=True, timeout=10).stdout
            for words in (
                ["rev-parse", "--verify", "--quiet", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!ablations/results"],
            )
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.strip() + ("-dirty" if changed else "") or None
