"""Two ways of doing the same, timed in turns in one process, so that a busy machine slows both."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple


class Race(NamedTuple):
    """Median seconds of both, and what they returned last."""

    ours: float
    peer: float
    results: tuple[Any, Any]

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer / self.ours


def race(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int = 3) -> Race:
    """Calls both `rounds` times in turns, after one call of ours to warm up."""
    ours()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, call in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            results[name] = call()
            seconds[name].append(time.perf_counter() - start)
    return Race(median(seconds["ours"]), median(seconds["peer"]), (results["ours"], results["peer"]))


def table(rows: list[tuple[str, str, str, str]]) -> None:
    """Prints rows of (what, ours, peer, ratio and bar) under a head."""
    head = ("what", "ours", "peer", "ratio (bar)")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
