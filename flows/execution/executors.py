"""Who does the items of a stage's fan-out: this process, worker processes of it, or the workers of a Dask cluster.

Nothing that is computed depends on who does it: items are independent, and results keep the items' order.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field

from stages.distributed.layout import Layout
from stages.interface import A, B, Kind, Section, StageError

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10.0
"""Seconds in which a Dask scheduler has to answer."""


class Cluster(Section):
    """The machines that do the work. DVC does not track it: it changes no result, but for `threads`."""

    workers: int | None = None
    """Stages, or items of a stage's fan-out, at a time; HERD_WORKERS overrides it; null: one per core (assumption)."""

    threads: int | None = None
    """torch's threads in a stage's process; null: one per core. The bytes of what is trained are the same for the same
    number only (assumption)."""

    runner: Literal["processes", "dask"] = "processes"
    """Who does a fan-out over shards or models: processes of this machine, or Dask's workers (assumption)."""

    address: str | None = None
    """Dask scheduler to use, such as tcp://host:8786; its workers need this project's folder, at the same path, as
    their current directory. null: a cluster of `workers` processes on this machine (assumption)."""

    launcher: Literal["here", "torchrun", "slurm"] = "here"
    """Who starts the ranks that train (paper 3.3: MAST): nobody, one process does all; torchrun on this machine; or
    torchrun on each node of a Slurm job (assumption). `python -m flows.launch --dry STAGE ...` prints the command."""

    layout: Layout = Layout()
    """The ranks under torchrun and Slurm (paper 3.3.2, Table 4)."""

    layouts: dict[str, Layout] = Field(default_factory=dict)
    """Other ranks for a stage, such as pretraining.long_context, or for all of an area, such as posttraining; also for
    a member of the herd alone, such as pretraining@small (paper Table 4: another layout for 128K tokens)."""

    ranks_per_node: int = Field(default=8, gt=0)
    """GPUs, and so ranks, of a node of the Slurm cluster (paper 3.3.1: 8)."""

    slurm: dict[str, str | int] = Field(default_factory=dict)
    """More that is asked of Slurm, by submitit's names: time in minutes, which must be there, partition, account, ...
    A rank has `threads` cores (one where that is null) unless `cpus_per_task` says how many a node's ranks have
    (assumption)."""

    def layout_of(self, stage: str, items: Collection[str]) -> Layout:
        """The ranks of a stage for these items of its matrix: the layout of its own, its area's, or the one for all;
        an item's before those of every item."""
        places = (stage, stage.partition(".")[0])
        names = [f"{place}@{item}" for item in items for place in places]
        return next((self.layouts[name] for name in (*names, *places) if name in self.layouts), self.layout)

    @property
    def at_a_time(self) -> int:
        """Items worked on at the same time."""
        return int(os.environ.get("HERD_WORKERS") or self.workers or len(os.sched_getaffinity(0)))


class Crew(Protocol):
    """Runs a function on one item, somewhere; called from several threads at once."""

    def close(self) -> None: ...

    def run(self, function: Callable[[A], B], item: A) -> B: ...


def hire(kind: Kind, workers: int, cluster: Cluster) -> Crew:
    """The crew for `workers` items at a time."""
    if kind == "thread":
        return Here()
    return Processes(workers) if cluster.runner == "processes" else Dask(workers, cluster.address)


class Here:
    """The calling thread."""

    def close(self) -> None: ...

    def run(self, function: Callable[[A], B], item: A) -> B:
        return function(item)


class Processes:
    """Worker processes of this one, which are replaced when one has died."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._hire()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[[A], B], item: A) -> B:
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

    def run(self, function: Callable[[A], B], item: A) -> B:
        result: B = self._client.submit(function, item, pure=False).result()
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
