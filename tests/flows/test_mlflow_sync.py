"""The background process copies event logs; a list takes MLflow's place."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.tracking import events, mlflow_sync

ALIVE = events.describe_process(psutil.Process())
DEAD = ALIVE | {"created": ALIVE["created"] - 1000}  # its pid has gone to another process since


class Writer:
    """Records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> str:
            self.calls.append((name, arguments))
            return f"run {len(self.calls)}"

        return call

    def calls_of(self, name: str) -> list[Any]:
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mlflow_sync, "EVENTS", tmp_path / "events")
    monkeypatch.setattr(mlflow_sync, "POSITIONS", tmp_path / "tracking")
    folder = tmp_path / "events" / "20260101-000000-1"
    folder.mkdir(parents=True)
    metadata = {"name": folder.name, "root": str(tmp_path), "driver": ALIVE, "started": 0.0}
    (folder / events.METADATA).write_text(json.dumps(metadata))
    return folder


def start(process: dict) -> dict[str, Any]:
    return {"event": "start", "time": 1.0, "name": "mini", "process": process, "outputs": {}}


def append(folder: Path, *lines: dict | str) -> None:
    with (folder / "mini.jsonl").open("a") as file:
        for line in lines:
            file.write(line if isinstance(line, str) else json.dumps(line) + "\n")


def point(step: int) -> dict[str, Any]:
    return {"event": "scalars", "time": 2.0, "step": step, "values": {"loss": 1.0}}


def steps(writer: Writer) -> list[int]:
    return [event["step"] for _, points in writer.calls_of("log_points") for event in points]


def test_a_line_that_is_half_written_waits_for_its_other_half(folder: Path) -> None:
    writer, whole = Writer(), json.dumps(point(2)) + "\n"
    follower = mlflow_sync.LogFollower(folder, writer)  # type: ignore[arg-type]
    append(folder, start(ALIVE), point(1), whole[:20])
    follower.follow()
    assert steps(writer) == [1]
    append(folder, whole[20:])
    follower.follow()
    assert steps(writer) == [1, 2]
    assert len(writer.calls_of("start_stage")) == 1


def test_another_process_goes_on_where_the_last_one_stopped(folder: Path) -> None:
    append(folder, start(ALIVE), *(point(step) for step in range(1200)))
    first, second = Writer(), Writer()
    mlflow_sync.LogFollower(folder, first).follow()  # type: ignore[arg-type]
    assert steps(first) == list(range(1200))
    assert max(len(points) for _, points in first.calls_of("log_points")) <= mlflow_sync.BATCH
    append(folder, point(1200))
    mlflow_sync.LogFollower(folder, second).follow()  # type: ignore[arg-type]
    assert steps(second) == [1200]
    assert second.calls_of("log_points")[0][0] == first.calls_of("log_points")[0][0]  # the same run


def test_a_stage_that_was_killed_is_said_to_be(folder: Path) -> None:
    writer = Writer()
    append(folder, start(DEAD), point(1))
    mlflow_sync.LogFollower(folder, writer).follow()  # type: ignore[arg-type]
    ((_, _, name, end),) = writer.calls_of("end_stage")
    assert (name, end["status"]) == ("mini", "killed")


def test_a_second_try_is_a_run_of_its_own(folder: Path) -> None:
    writer = Writer()
    failed = {"event": "end", "time": 3.0, "status": "failed", "seconds": 1.0, "error": "no"}
    append(folder, start(ALIVE), point(1), failed, start(ALIVE), point(1))
    mlflow_sync.LogFollower(folder, writer).follow()  # type: ignore[arg-type]
    assert len(writer.calls_of("start_stage")) == 2
    assert [run for run, _ in writer.calls_of("log_points")] == ["run 2", "run 5"]


def test_a_file_that_dvc_is_writing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / "dvc.lock", "stages:\n  a:\n    cmd: b\n"
    path.write_text(whole + "    de")
    monkeypatch.setattr(events.time, "sleep", lambda seconds: path.write_text(whole))
    assert events.read_lock(tmp_path) == {"a": {"cmd": "b"}}
