"""Two ways of doing the same, timed in turns in one process, so that a busy machine slows both."""

import time
from collections.abc import Callable, Mapping, Sequence
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


def turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Seconds and results of any number of calls made in turns; the first round warms up and is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, list[Any]] = {name: [call()] for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            results[name].append(call())
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def ratio(seconds: Mapping[str, Sequence[float]], ours: str, peer: str) -> float:
    """How many times faster ours is: the median over the rounds, each of which both lived through."""
    return median(theirs / mine for mine, theirs in zip(seconds[ours], seconds[peer], strict=True))


def table(rows: list[tuple[str, str, str, str]]) -> None:
    """Prints rows of (what, ours, peer, ratio and bar) under a head."""
    head = ("what", "ours", "peer", "ratio (bar)")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
