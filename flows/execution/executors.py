"""Who does the items of a stage's fan-out: this process, worker processes of it, or the workers of a Dask cluster.

Nothing that is computed depends on who does it: items are independent, and results keep the items' order.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Protocol

from flows.parameters.cluster import Cluster
from stages.interface import R, StageError, T, WorkerKind

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10.0
"""Seconds in which a Dask scheduler has to answer."""


class Crew(Protocol):
    """Runs a function on one item, somewhere; called from several threads at once."""

    def close(self) -> None: ...

    def run(self, function: Callable[[T], R], item: T) -> R: ...


def hire(kind: WorkerKind, workers: int, cluster: Cluster) -> Crew:
    """The crew for `workers` items at a time."""
    if kind == "thread":
        return Here()
    return Processes(workers) if cluster.runner == "processes" else Dask(workers, cluster.address)


class Here:
    """The calling thread."""

    def close(self) -> None: ...

    def run(self, function: Callable[[T], R], item: T) -> R:
        return function(item)


class Processes:
    """Worker processes of this one, which are replaced when one has died."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._hire()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[[T], R], item: T) -> R:
        pool = self._pool
        try:
            return pool.submit(function, item).result()
        except BrokenExecutor:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._hire()
            raise

    def _hire(self) -> ProcessPoolExecutor:
        # spawn, not fork: a forked child of a process that has started torch's threads can hang.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=_one_thread)


class Dask:
    """The workers of a Dask cluster. Dask itself gives an item to another worker when one has died."""

    def __init__(self, workers: int, address: str | None) -> None:
        self._client = self._connect(workers, address)

    def close(self) -> None:
        cluster = self._client.cluster
        self._client.close()
        if cluster is not None:  # none of ours
            cluster.close()

    def run(self, function: Callable[[T], R], item: T) -> R:
        result: R = self._client.submit(function, item, pure=False).result()
        return result

    @staticmethod
    def _connect(workers: int, address: str | None) -> "Client":
        from distributed import Client, LocalCluster

        if address is None:
            return Client(LocalCluster(workers, threads_per_worker=1, dashboard_address=None, silence_logs=40))
        try:
            return Client(address, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise StageError(
                f"params.yaml: cluster.address: no Dask scheduler answers at {address} ({error})"
            ) from None


def _one_thread() -> None:
    """Runs first in each worker process, before torch is imported there: as many workers as there may be, each computes
    the same bytes."""
    os.environ["OMP_NUM_THREADS"] = "1"
