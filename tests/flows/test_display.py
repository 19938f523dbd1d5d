"""The terminal's view of a reproduction."""

import io
import sys
import time
from pathlib import Path

import pytest

from flows.execution.display import Display, latest_progress
from flows.tracking.events import EventLog, log_path


def test_the_latest_progress_is_read_from_the_tail_of_a_log(tmp_path: Path) -> None:
    assert latest_progress(log_path(tmp_path, "train@small")) is None
    log = EventLog(tmp_path, "train@small")
    log.write("start", stage="train")
    assert latest_progress(log.path) is None
    for step in range(1000):
        log.write("progress", name="steps", done=step, total=1000)
        log.write("scalars", step=step, values={"loss": 1.0})
    with log.path.open("a") as file:
        file.write('{"event": "progress", "ti')  # a line that is being written
    found = latest_progress(log.path)
    assert found and (found["name"], found["done"], found["total"]) == ("steps", 999, 1000)


def test_plain_lines_where_nobody_looks_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(tmp_path, 2) as display:
        display.start("a")
        display.print_line("[a] says so\n")
        display.end("a", "1.0 s")
        display.start("b")
        display.end("b", None)
    assert not display.is_live
    assert capsys.readouterr().out == "[a] says so\n[1/2] a: 1.0 s\n"


def test_a_bar_shows_how_far_a_stage_is_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Display(tmp_path, 1) as display:
        assert display.is_live
        display.start("train@small")
        EventLog(tmp_path, "train@small").write("progress", name="steps", done=30, total=40)
        deadline = time.monotonic() + 10
        while "75%" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
        display.end("train@small", "2.0 s")
    assert "train@small: steps" in terminal.getvalue() and "75%" in terminal.getvalue()
    assert "[1/1] train@small: 2.0 s" in terminal.getvalue()
