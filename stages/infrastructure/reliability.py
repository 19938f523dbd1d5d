"""Effective training time under machine failures (paper 3.3.4): a closed form, and a simulation by cause.

Failures are a Poisson process whose rate is proportional to the number of GPUs. Each failure costs the work since the
last checkpoint, the time to detect it and the time to restart. A hardware failure also removes a node until it is
repaired; if there is no spare node, the run waits for one.
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
"""Cause -> (unexpected interruptions in 54 days, whether it is hardware): Table 5's counts. Its percentages do not sum
to 100, so they are not used."""
NUM_INTERRUPTIONS = sum(count for count, _ in INTERRUPTIONS.values())
KINDS = ("checkpoints", "lost work", "detection", "waiting for a node", "restart")
"""Kinds of lost time."""


class Reliability(Section):
    """The cluster whose interruptions are simulated."""

    gpus: int = Field(gt=0)
    """GPUs of the run (paper 3.3.4: 16,384)."""
    days: float = Field(gt=0)
    """Length of the run (paper 3.3.4: the 54 days of Table 5)."""
    parameters: float = Field(gt=0)
    """Parameters of the model; they determine the size of a checkpoint (paper 3.2: 405e9)."""
    bytes_per_parameter: float = Field(gt=0)
    """Bytes of a checkpoint per parameter (assumption: float32 weights and two moments, as in
    `stages.training.checkpoint`)."""
    storage_bytes_per_second: float = Field(gt=0)
    """Write bandwidth of the storage (paper 3.3.1: 2 TB/s sustained, 7 TB/s peak)."""
    checkpoint_minutes: float = Field(gt=0)
    """Training time between two checkpoints (assumption; not in the paper)."""
    detect_minutes: float = Field(ge=0)
    """Time from a failure until it is detected and located (assumption; paper 3.3.4 gives no figure)."""
    restart_minutes: float = Field(ge=0)
    """Time from detection to the next useful step: rescheduling, loading, warm-up (assumption; paper 3.3.4 says that it
    was reduced and gives no figure)."""
    spare_nodes: int = Field(ge=0)
    """Spare nodes of 8 GPUs (assumption; paper 3.3.1: the cluster has 24,000 GPUs)."""
    repair_hours: float = Field(ge=0)
    """Repair time of a node with faulty hardware (assumption)."""
    runs: int = Field(ge=20)
    """Simulated runs (assumption)."""

    @property
    def write_days(self) -> float:
        """Days that the run stops while a checkpoint is written."""
        return self.parameters * self.bytes_per_parameter / self.storage_bytes_per_second / 86_400

    @property
    def down_days(self) -> float:
        """Days from a failure to the next useful step if a spare node is available."""
        return (self.detect_minutes + self.restart_minutes) * MINUTES

    @property
    def checkpoint_days(self) -> float:
        """Days of training between two checkpoints."""
        return self.checkpoint_minutes * MINUTES

    @property
    def failure_rate(self) -> float:
        """Unexpected interruptions per day: Table 5's rate, scaled by the number of GPUs."""
        return NUM_INTERRUPTIONS / 54 * self.gpus / 16_384


def effective_time(rate: float, interval: float, write: float, restart: float) -> float:
    """Effective training time as a share, for `rate` failures per day and unlimited spare nodes. All times in days.

    A failed segment (`interval` of work, then `write`) is repeated after `restart`, which can fail too. The expected
    time of a segment is e^(rate restart) (e^(rate (interval + write)) - 1) / rate (Daly 2006, eq. 13)."""
    expected = np.exp(rate * restart) * np.expm1(rate * (interval + write)) / rate
    return float(interval / expected)


def best_checkpoint_interval(rate: float, write: float, restart: float) -> float:
    """The interval between checkpoints, in days, that maximizes the effective training time."""
    result = minimize_scalar(
        lambda log: -effective_time(rate, float(np.exp(log)), write, restart),
        bounds=(np.log(write / 100), np.log(10.0)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))


@dataclass(frozen=True)
class SimulationResult:
    """Shares of the time of each simulated run, [runs] each. `useful` and all `by_kind` sum to 1."""

    useful: np.ndarray
    by_kind: dict[str, np.ndarray]
    """Lost time by kind, see KINDS."""
    by_cause: dict[str, np.ndarray]
    """Lost time by cause of interruption; the sum is that of all kinds except checkpoints."""


def simulate(options: Reliability, seed: int) -> SimulationResult:
    """Simulates `options.runs` runs; the causes of interruptions are drawn in proportion to Table 5's counts."""
    causes = sorted(INTERRUPTIONS)
    cumulative_shares = np.cumsum([INTERRUPTIONS[cause][0] for cause in causes]) / NUM_INTERRUPTIONS
    generator = np.random.default_rng(seed)
    useful = np.zeros(options.runs)
    by_kind = {kind: np.zeros(options.runs) for kind in KINDS}
    by_cause = {cause: np.zeros(options.runs) for cause in causes}
    for run in range(options.runs):
        for cause, kind, days in simulate_run(options, generator, causes, cumulative_shares):
            share = days / options.days
            if kind == "useful":
                useful[run] += share
                continue
            by_kind[kind][run] += share
            if cause:
                by_cause[cause][run] += share
    return SimulationResult(useful, by_kind, by_cause)


def simulate_run(
    options: Reliability, generator: np.random.Generator, causes: list[str], cumulative_shares: np.ndarray
) -> Iterator[tuple[str, str, float]]:
    """Yields (cause or "", kind or "useful", days) of consecutive periods of one run; the days sum to its length.
    `cumulative_shares` [causes] are the cumulative shares of `causes` in all interruptions."""
    interval, write = options.checkpoint_days, options.write_days
    now, cause = 0.0, ""
    delays: list[tuple[str, float]] = []  # delays before training resumes, in order
    repair_times: list[float] = []  # heap of the times at which broken nodes return
    while True:
        failure = now + float(generator.exponential(1 / options.failure_rate))
        end = min(failure, options.days)
        for kind, length in delays:  # the next failure can occur before the run has restarted
            length = min(length, end - now)
            yield cause, kind, length
            now += length
        segments = (end - now) // (interval + write)
        rest = end - now - segments * (interval + write)
        yield "", "useful", segments * interval
        yield "", "checkpoints", segments * write
        if failure >= options.days:
            yield "", "useful", rest  # the end of the run loses no work
            return
        cause, now = causes[int(np.searchsorted(cumulative_shares, generator.random(), side="right"))], failure
        yield cause, "lost work", rest
        delays = [("detection", options.detect_minutes * MINUTES)]
        detected = failure + delays[0][1]
        while repair_times and repair_times[0] <= detected:
            heapq.heappop(repair_times)
        if INTERRUPTIONS[cause][1]:
            heapq.heappush(repair_times, detected + options.repair_hours / 24)
            if len(repair_times) > options.spare_nodes:
                delays.append(("waiting for a node", heapq.heappop(repair_times) - detected))
        delays.append(("restart", options.restart_minutes * MINUTES))
