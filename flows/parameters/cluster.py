"""The section `cluster` of the parameters: which machines do the work."""

import os
from collections.abc import Collection
from typing import Literal

from pydantic import Field

from stages.distributed.layout import Layout
from stages.interface import Section


class Cluster(Section):
    """The machines that do the work. DVC does not track it: it changes no result, but for `threads`."""

    workers: int | None = Field(default=None, gt=0)
    """Stages, or items of a stage's fan-out, at a time; HERD_WORKERS overrides it; null: one per core (assumption)."""

    threads: int | None = Field(default=None, gt=0)
    """torch's threads in a stage's process; null: one per core. The bytes of what is trained are the same for the same
    number only (assumption)."""

    runner: Literal["processes", "dask"] = "processes"
    """Who does a fan-out over shards or models: processes of this machine, or Dask's workers (assumption)."""

    address: str | None = None
    """Dask scheduler to use, such as tcp://host:8786; its workers need this project's folder, at the same path, as
    their current directory. null: a cluster of `workers` processes on this machine (assumption)."""

    launcher: Literal["here", "torchrun", "slurm"] = "here"
    """Who starts the ranks that train (paper 3.3: MAST): nobody, one process does all; torchrun on this machine; or
    torchrun on each node of a Slurm job (assumption). `herd launch --dry STAGE ...` prints the command."""

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
    def num_threads(self) -> int:
        """torch's threads in a stage's process."""
        return self.threads or len(os.sched_getaffinity(0))

    @property
    def max_workers(self) -> int:
        """Items of a fan-out that run at the same time."""
        return int(os.environ.get("HERD_WORKERS") or self.workers or len(os.sched_getaffinity(0)))
