"""How much of a long run's time is useful when machines fail (paper 3.3.4): a closed form, and a simulation by cause.

Failures arrive at random at a rate that grows with the number of GPUs. Each costs the work since the last checkpoint,
the time to find the fault and restart, and a node until it is repaired; with no spare node left the run waits for one.
"""

import heapq
from collections.abc import Mapping

import numpy as np
from pydantic import Field
from scipy.optimize import minimize_scalar

from stages.interface import Section

MINUTES = 1 / (24 * 60)

INTERRUPTIONS: Mapping[str, tuple[int, bool]] = {
    "faulty GPU": (148, True), "GPU HBM3 memory": (72, True), "software bug": (54, False),
    "network switch or cable": (35, True), "host maintenance": (32, False), "GPU SRAM memory": (19, True),
    "GPU system processor": (17, True), "NIC": (7, True), "NCCL watchdog timeout": (7, False),
    "silent data corruption": (6, True), "GPU thermal interface or sensor": (6, True), "SSD": (3, True),
    "power supply": (3, True), "server chassis": (2, True), "IO expansion board": (2, True), "dependency": (2, False),
    "CPU": (2, True), "system memory": (2, True),
}  # fmt: skip
"""Cause -> (unexpected interruptions in 54 days, whether it is hardware): Table 5's counts. Its percentages do not add
up to 100, so counts are what is used."""
UNEXPECTED = sum(count for count, _ in INTERRUPTIONS.values())


class Reliability(Section):
    """The cluster whose interruptions are simulated."""

    gpus: int = Field(gt=0)
    """GPUs of the run (paper 3.3.4: 16,384)."""
    days: float = Field(gt=0)
    """Length of the run (paper 3.3.4: the 54 days of Table 5)."""
    parameters: float = Field(gt=0)
    """Parameters of the model, which give the size of a checkpoint (paper 3.2: 405e9)."""
    bytes_per_parameter: float = Field(gt=0)
    """Bytes of a checkpoint per parameter (assumption: bfloat16 weights, float32 weights and two moments)."""
    storage_bytes_per_second: float = Field(gt=0)
    """What the storage takes (paper 3.3.1: 2 TB/s sustained, 7 TB/s at the peak)."""
    checkpoint_minutes: float = Field(gt=0)
    """Training time between two checkpoints (assumption; the paper gives none)."""
    restart_minutes: float = Field(ge=0)
    """From a failure to the next useful step: detection, rescheduling, loading (assumption; paper 3.3.4 says that both
    were brought down and gives no figure)."""
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
        lambda log: -effective(rate, float(np.exp(log)), write, restart), bounds=(np.log(write / 100), np.log(10.0)),
        method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(np.exp(found.x))


def simulate(options: Reliability, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """[runs] useful share of each simulated run, and by cause [runs] the share of time that it cost."""
    causes = sorted(INTERRUPTIONS)
    weights = np.array([INTERRUPTIONS[cause][0] for cause in causes]) / UNEXPECTED
    generator = np.random.default_rng(seed)
    useful = np.empty(options.runs)
    lost = {cause: np.zeros(options.runs) for cause in causes}
    for run in range(options.runs):
        useful[run], costs = _one_run(options, generator, causes, weights)
        for cause, cost in costs:
            lost[cause][run] += cost
    return useful, lost


def _one_run(
    options: Reliability, generator: np.random.Generator, causes: list[str], weights: np.ndarray
) -> tuple[float, list[tuple[str, float]]]:
    """The useful share of one run, and each interruption's cause and share of the time."""
    interval, write = options.checkpoint_minutes * MINUTES, options.write_days
    restart, repair = options.restart_minutes * MINUTES, options.repair_hours / 24
    now = useful = 0.0
    costs: list[tuple[str, float]] = []
    away: list[float] = []  # when each broken node comes back, a heap
    while True:
        quiet = generator.exponential(1 / options.rate)
        segments = min(quiet, options.days - now) // (interval + write)
        useful += segments * interval
        if now + quiet >= options.days:
            return useful / options.days, costs
        cause = causes[generator.choice(len(causes), p=weights)]
        again = now + quiet + restart
        while away and away[0] <= again:
            heapq.heappop(away)
        if INTERRUPTIONS[cause][1]:
            heapq.heappush(away, again + repair)
            if len(away) > options.spare_nodes:
                again = heapq.heappop(away)
        costs.append((cause, (again - now - segments * (interval + write)) / options.days))
        now = again
        if now >= options.days:
            return useful / options.days, costs
