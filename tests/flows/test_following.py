"""What the background process makes of event logs, with a list in MLflow's place."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.tracking import events
from flows.tracking import mlflow_sync as tracking

ALIVE = events.identify(psutil.Process())
DEAD = ALIVE | {"created": ALIVE["created"] - 1000}  # its pid has gone to another process since


class Writer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> str:
            self.calls.append((name, arguments))
            return f"run {len(self.calls)}"

        return call

    def told(self, name: str) -> list[Any]:
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tracking, "EVENTS", tmp_path / "events")
    monkeypatch.setattr(tracking, "PROGRESS", tmp_path / "tracking")
    folder = tmp_path / "events" / "20260101-000000-1"
    folder.mkdir(parents=True)
    facts = {"name": folder.name, "root": str(tmp_path), "driver": ALIVE, "started": 0.0}
    (folder / events.FACTS).write_text(json.dumps(facts))
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
    return [event["step"] for _, points in writer.told("points") for event in points]


def test_a_line_that_is_half_written_waits_for_its_other_half(folder: Path) -> None:
    writer, whole = Writer(), json.dumps(point(2)) + "\n"
    follower = tracking.Follower(folder, writer)  # type: ignore[arg-type]
    append(folder, start(ALIVE), point(1), whole[:20])
    follower.follow()
    assert steps(writer) == [1]
    append(folder, whole[20:])
    follower.follow()
    assert steps(writer) == [1, 2]
    assert len(writer.told("stage")) == 1


def test_another_process_goes_on_where_the_last_one_stopped(folder: Path) -> None:
    append(folder, start(ALIVE), *(point(step) for step in range(1200)))
    first, second = Writer(), Writer()
    tracking.Follower(folder, first).follow()  # type: ignore[arg-type]
    assert steps(first) == list(range(1200))
    assert max(len(points) for _, points in first.told("points")) <= tracking.BATCH
    append(folder, point(1200))
    tracking.Follower(folder, second).follow()  # type: ignore[arg-type]
    assert steps(second) == [1200]
    assert second.told("points")[0][0] == first.told("points")[0][0]  # the same run


def test_a_stage_that_was_killed_is_said_to_be(folder: Path) -> None:
    writer = Writer()
    append(folder, start(DEAD), point(1))
    tracking.Follower(folder, writer).follow()  # type: ignore[arg-type]
    ((_, _, name, end),) = writer.told("end")
    assert (name, end["status"]) == ("mini", "killed")


def test_a_second_try_is_a_run_of_its_own(folder: Path) -> None:
    writer = Writer()
    failed = {"event": "end", "time": 3.0, "status": "failed", "seconds": 1.0, "error": "no"}
    append(folder, start(ALIVE), point(1), failed, start(ALIVE), point(1))
    tracking.Follower(folder, writer).follow()  # type: ignore[arg-type]
    assert len(writer.told("stage")) == 2
    assert [run for run, _ in writer.told("points")] == ["run 2", "run 5"]


def test_a_file_that_dvc_is_writing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / "dvc.lock", "stages:\n  a:\n    cmd: b\n"
    path.write_text(whole + "    de")
    monkeypatch.setattr(events.time, "sleep", lambda seconds: path.write_text(whole))
    assert events.lock_file(tmp_path) == {"a": {"cmd": "b"}}
