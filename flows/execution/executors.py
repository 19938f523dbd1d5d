"""Executors of a stage's fan-out: the calling thread, worker processes, or the workers of a Dask cluster.

No result depends on the executor: items are independent, and results keep the order of the items.
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

CONNECT_TIMEOUT = 10.0
"""Seconds in which a Dask scheduler must answer."""


class Executor(Protocol):
    """Runs a function on one item; several threads call it at the same time."""

    def close(self) -> None: ...

    def run(self, function: Callable[[T], R], item: T) -> R: ...


def make_executor(kind: WorkerKind, workers: int, cluster: Cluster) -> Executor:
    """The executor for `workers` items at a time."""
    if kind == "thread":
        return InlineExecutor()
    return ProcessExecutor(workers) if cluster.runner == "processes" else DaskExecutor(workers, cluster.address)


class InlineExecutor:
    """Runs items in the calling thread."""

    def close(self) -> None: ...

    def run(self, function: Callable[[T], R], item: T) -> R:
        return function(item)


class ProcessExecutor:
    """Runs items in worker processes; starts new ones when one has died."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._make_pool()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[[T], R], item: T) -> R:
        pool = self._pool
        try:
            return pool.submit(function, item).result()
        except BrokenExecutor:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._make_pool()
            raise

    def _make_pool(self) -> ProcessPoolExecutor:
        # spawn, not fork: a forked child of a process that has started torch's threads can hang.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=_use_one_thread)


class DaskExecutor:
    """Runs items on the workers of a Dask cluster, which gives an item to another worker when one has died."""

    def __init__(self, workers: int, address: str | None) -> None:
        self._client = self._connect(workers, address)

    def close(self) -> None:
        cluster = self._client.cluster
        self._client.close()
        if cluster is not None:  # started by this process
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
            return Client(address, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:
            raise StageError(
                f"params.yaml: cluster.address: no Dask scheduler answers at {address} ({error})"
            ) from None


def _use_one_thread() -> None:
    """Runs first in each worker process, before torch is imported: results do not depend on the number of workers."""
    os.environ["OMP_NUM_THREADS"] = "1"
