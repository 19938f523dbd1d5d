"""Shows a reproduction in the terminal: a live bar per running stage, or plain lines if the output is no terminal."""

import json
import sys
import threading
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from flows.tracking.events import log_path

TAIL = 1 << 15
"""Bytes at the end of an event log in which the latest progress is looked for."""
INTERVAL = 0.5
"""Seconds between two reads of the event logs."""


class Display:
    """Shows which of `total` stages run and are done; reads their progress from the event logs in `folder`."""

    def __init__(self, folder: Path, total: int) -> None:
        self._folder, self._total, self._done = folder, total, 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self.is_live = self._console.is_terminal
        self._running: dict[str, TaskID] = {}
        columns = (TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=self._console, transient=True, disable=not self.is_live)
        self._follower = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        if self.is_live:
            self._bars.start()
            self._follower.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self.is_live:
            self._follower.join()
            self._bars.stop()

    def start(self, name: str) -> None:
        with self._lock:
            self._running[name] = self._bars.add_task(name, total=None)

    def end(self, name: str, text: str | None) -> None:
        """Removes the bar of a stage; with a `text`, counts the stage as done and prints it."""
        with self._lock:
            if (bar := self._running.pop(name, None)) is not None:
                self._bars.remove_task(bar)
            if text is not None:
                self._done += 1
                self._console.print(f"[{self._done}/{self._total}] {name}: {text}")

    def print_line(self, text: str) -> None:
        """Prints a line of a stage's output above the bars."""
        self._console.print(text.rstrip("\n"))

    def _follow(self) -> None:
        while not self._ended.wait(INTERVAL):
            with self._lock:
                for name, bar in self._running.items():
                    if progress := latest_progress(log_path(self._folder, name)):
                        title = f"{name}: {progress['name']}"
                        self._bars.update(bar, description=title, completed=progress["done"], total=progress["total"])


def latest_progress(log: Path) -> dict[str, Any] | None:
    """The last `progress` event in the tail of an event log; None if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        if line.startswith(b'{"event": "progress"') and line.endswith(b"}"):
            event: dict[str, Any] = json.loads(line)
            return event
    return None
