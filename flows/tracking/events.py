"""The event log: what stages say while they run, one JSON line each, in .herd/events/<reproduction>/<stage>.jsonl.

Stages only ever append to a local file. Who wants to watch (MLflow, the forecast of a run's length) reads along, so
watching costs the work nothing and cannot fail it. Beside the logs lies reproduction.json: what the stages share.
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
FACTS = "reproduction.json"
LIST = 32
"""Longer lists in a stage's metrics are data rather than numbers to compare."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def driver() -> psutil.Process:
    """The process that drives this reproduction: the `dvc` above this one, or this process by itself."""
    if "DVC_STAGE" in os.environ:
        for parent in psutil.Process().parents():
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:4]):
                return parent
    return psutil.Process()


def reproduction() -> str:
    """The name of the reproduction this process belongs to: HERD_REPRODUCTION where a driver has set it."""
    return os.environ.get("HERD_REPRODUCTION") or name_of(driver())


def name_of(process: psutil.Process) -> str:
    """The name of the reproduction that `process` drives."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(process.create_time()))}-{process.pid}"


def identify(process: psutil.Process) -> dict[str, Any]:
    """A process as JSON, told apart from a later one with the same pid."""
    return {"pid": process.pid, "created": process.create_time()}


def alive(process: Mapping[str, Any]) -> bool:
    """Whether the process that `identify` described still runs."""
    try:
        found = psutil.Process(process["pid"])
        return abs(found.create_time() - process["created"]) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def begin(name: str, driver: psutil.Process, scale: str, parameters: Mapping[str, Any]) -> Path:
    """The folder of a reproduction; the first to come writes down what all of its stages share."""
    folder = EVENTS / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FACTS).exists():
        return folder
    facts = {
        "name": name,
        "scale": scale,
        "root": str(ROOT),
        "driver": identify(driver),
        "started": time.time(),
        "commit": commit(),
        "experiment": os.environ.get("DVC_EXP_NAME"),
        "parameters": parameters,
    }
    draft = folder / f"{FACTS}.{os.getpid()}"
    draft.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    try:
        os.link(draft, folder / FACTS)  # fails where a stage that started at the same moment was faster
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return folder


def lock_file(root: Path) -> dict[str, Any]:
    """The stages of dvc.lock: name -> cmd, deps, params, outs. Empty where nothing has been reproduced yet."""
    for _ in range(20):
        try:
            return (yaml.load((root / "dvc.lock").read_bytes(), LOADER) or {}).get("stages", {})
        except FileNotFoundError:
            return {}
        except yaml.YAMLError:  # DVC, which is writing it, does so in place
            time.sleep(0.1)
    return {}


def made(entry: Mapping[str, Any]) -> dict[str, str]:
    """path -> md5, as DVC knows them, of what the stage of one entry of dvc.lock has made."""
    return {out["path"]: out["md5"] for out in entry.get("outs", []) if out.get("md5")}


def numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """(path, number) of each number and truth value in a tree of metrics."""
    if isinstance(value, bool | int | float):
        yield where, float(value)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from numbers(value[key], f"{where}.{key}" if where else str(key))
    elif isinstance(value, list) and len(value) <= LIST:
        for index, entry in enumerate(value):
            yield from numbers(entry, f"{where}.{index}")


def log_of(folder: Path, name: str) -> Path:
    """The event log of the stage `name` in a reproduction's folder."""
    return folder / f"{name.replace('/', '-')}.jsonl"


class EventLog:
    """Appends events of one stage run. An event is a JSON object with `event` (its kind) and `time` (Unix seconds).

    Kinds: start (stage, name, item, process, parameters, inputs, outputs, md5), scalars (step, values),
    progress (name, done, total), table (name, rows), note (text), part (name, parameters, values, curve), end (status
    "finished", "failed" or "killed", seconds, metrics or error).
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = log_of(folder, name)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "time": time.time(), **fields}, ensure_ascii=False) + "\n"
        try:
            self._file.write(line)
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise StageError(f"{self.path}: no space left to note what happens; free some and run again") from None


def commit() -> str | None:
    """The commit the project stands at, with `-dirty` where files differ from it that are no recorded results."""
    git = ["git", "--no-optional-locks"]
    try:
        found, changed = (
            subprocess.run([*git, *words], cwd=ROOT, check=False, capture_output=True, text=True, timeout=10).stdout
            for words in (
                ["rev-parse", "--verify", "--quiet", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!ablations/results"],
            )
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.strip() + ("-dirty" if changed else "") or None
