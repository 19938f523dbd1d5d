"""How much of a long run's time is useful when machines fail (paper 3.3.4): a closed form, and a simulation by cause.

Failures arrive at random at a rate that grows with the number of GPUs. Each costs the work since the last checkpoint,
the time to find the fault, the time to restart, and where hardware is broken a node until it is repaired; with no spare
node left the run waits for one.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.optimize import minimize_scalar

from stages.interface import Section

MINUTES = 1 / (24 * 60)

INTERRUPTIONS: Mapping[str, tuple[int, bool]] = {
    "faulty GPU": (148, True),
    "GPU HBM3 memory": (72, True),
    "software bug": (54, False),
    "network switch or cable": (35, True),
    "host maintenance": (32, False),
    "GPU SRAM memory": (19, True),
    "GPU system processor": (17, True),
    "NIC": (7, True),
    "NCCL watchdog timeout": (7, False),
    "silent data corruption": (6, True),
    "GPU thermal interface or sensor": (6, True),
    "SSD": (3, True),
    "power supply": (3, True),
    "server chassis": (2, True),
    "IO expansion board": (2, True),
    "dependency": (2, False),
    "CPU": (2, True),
    "system memory": (2, True),
}
"""Cause -> (unexpected interruptions in 54 days, whether it is hardware): Table 5's counts. Its percentages do not add
up to 100, so counts are what is used."""
UNEXPECTED = sum(count for count, _ in INTERRUPTIONS.values())
KINDS = ("checkpoints", "lost work", "detection", "waiting for a node", "restart")
"""What time goes to that is not useful."""


class Reliability(Section):
    """The cluster whose interruptions are simulated."""

    gpus: int = Field(gt=0)
    """GPUs of the run (paper 3.3.4: 16,384)."""
    days: float = Field(gt=0)
    """Length of the run (paper 3.3.4: the 54 days of Table 5)."""
    parameters: float = Field(gt=0)
    """Parameters of the model, which give the size of a checkpoint (paper 3.2: 405e9)."""
    bytes_per_parameter: float = Field(gt=0)
    """Bytes of a checkpoint per parameter (assumption: float32 weights and two moments, as `stages.training.checkpoint`
    writes them)."""
    storage_bytes_per_second: float = Field(gt=0)
    """What the storage takes (paper 3.3.1: 2 TB/s sustained, 7 TB/s at the peak)."""
    checkpoint_minutes: float = Field(gt=0)
    """Training time between two checkpoints (assumption; the paper gives none)."""
    detect_minutes: float = Field(ge=0)
    """From a failure until it is noticed and located (assumption; paper 3.3.4 gives no figure)."""
    restart_minutes: float = Field(ge=0)
    """From there to the next useful step: rescheduling, loading, warming up (assumption; paper 3.3.4 says that it was
    brought down and gives no figure)."""
    spare_nodes: int = Field(ge=0)
    """Nodes of 8 GPUs beyond those of the run (assumption; paper 3.3.1: the cluster has 24,000 GPUs)."""
    repair_hours: float = Field(ge=0)
    """Until a node with faulty hardware is back (assumption)."""
    runs: int = Field(ge=20)
    """Simulated runs (assumption)."""

    @property
    def write_days(self) -> float:
        """Days that the run stands still while a checkpoint is written."""
        return self.parameters * self.bytes_per_parameter / self.storage_bytes_per_second / 86_400

    @property
    def down_days(self) -> float:
        """Days from a failure to the next useful step where a spare node is at hand."""
        return (self.detect_minutes + self.restart_minutes) * MINUTES

    @property
    def rate(self) -> float:
        """Unexpected interruptions per day: Table 5's, scaled by the number of GPUs."""
        return UNEXPECTED / 54 * self.gpus / 16_384


def effective(rate: float, interval: float, write: float, restart: float) -> float:
    """Useful share of the time under failures at `rate` per day, with spare nodes always at hand. All times in days.

    A segment (`interval` of work, then `write`) that a failure hits is done again after `restart`, in which failures
    may strike as well: the expected time of a segment is e^(rate restart) (e^(rate (interval + write)) - 1) / rate
    (Daly 2006, eq. 13)."""
    expected = np.exp(rate * restart) * np.expm1(rate * (interval + write)) / rate
    return float(interval / expected)


def best_interval(rate: float, write: float, restart: float) -> float:
    """The interval between checkpoints, in days, with the largest useful share."""
    found = minimize_scalar(
        lambda log: -effective(rate, float(np.exp(log)), write, restart),
        bounds=(np.log(write / 100), np.log(10.0)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Simulated:
    """Shares of the time of each simulated run, [runs] each. `useful` and all of `by_kind` sum to 1."""

    useful: np.ndarray
    by_kind: dict[str, np.ndarray]
    """What the rest went to: one of KINDS."""
    by_cause: dict[str, np.ndarray]
    """What interruptions of each cause cost; they sum to all kinds but the writing of checkpoints."""


def simulate(options: Reliability, seed: int) -> Simulated:
    """Runs with interruptions drawn at random, their causes by Table 5's counts."""
    causes = sorted(INTERRUPTIONS)
    upto = np.cumsum([INTERRUPTIONS[cause][0] for cause in causes]) / UNEXPECTED
    generator = np.random.default_rng(seed)
    useful = np.zeros(options.runs)
    by_kind = {kind: np.zeros(options.runs) for kind in KINDS}
    by_cause = {cause: np.zeros(options.runs) for cause in causes}
    for run in range(options.runs):
        for cause, kind, days in _one_run(options, generator, causes, upto):
            share = days / options.days
            if kind == "useful":
                useful[run] += share
                continue
            by_kind[kind][run] += share
            if cause:
                by_cause[cause][run] += share
    return Simulated(useful, by_kind, by_cause)


def _one_run(
    options: Reliability, generator: np.random.Generator, causes: list[str], upto: np.ndarray
) -> Iterator[tuple[str, str, float]]:
    """(cause or "", kind or "useful", days) of every stretch of one run; they sum to its length. `upto` is the share of
    the interruptions that each cause and those before it make up."""
    interval, write = options.checkpoint_minutes * MINUTES, options.write_days
    now, cause = 0.0, ""
    down: list[tuple[str, float]] = []  # what must pass before training goes on, in order
    away: list[float] = []  # when each broken node comes back, a heap
    while True:
        failure = now + float(generator.exponential(1 / options.rate))
        end = min(failure, options.days)
        for kind, length in down:  # an interruption may strike before the run is up again
            length = min(length, end - now)
            yield cause, kind, length
            now += length
        segments = (end - now) // (interval + write)
        rest = end - now - segments * (interval + write)
        yield "", "useful", segments * interval
        yield "", "checkpoints", segments * write
        if failure >= options.days:
            yield "", "useful", rest  # what is done when the time is up is not lost
            return
        cause, now = causes[int(np.searchsorted(upto, generator.random(), side="right"))], failure
        yield cause, "lost work", rest
        down = [("detection", options.detect_minutes * MINUTES)]
        found = failure + down[0][1]
        while away and away[0] <= found:
            heapq.heappop(away)
        if INTERRUPTIONS[cause][1]:
            heapq.heappush(away, found + options.repair_hours / 24)
            if len(away) > options.spare_nodes:
                down.append(("waiting for a node", heapq.heappop(away) - found))
        down.append(("restart", options.restart_minutes * MINUTES))
