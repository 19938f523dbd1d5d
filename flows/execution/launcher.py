"""Starts the ranks that train a stage, as the section `cluster` says: none, torchrun, or torchrun in a Slurm job."""

import ctypes
import itertools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flows import project
from flows.parameters import Cluster
from stages.distributed.layout import Layout
from stages.interface import StageError

DISTRIBUTED_STAGES = (
    "pretraining.initial",
    "pretraining.long_context",
    "pretraining.annealing",
    "posttraining.reward",
    "posttraining.sft",
    "posttraining.dpo",
    "safety.tuning",
)
"""The stages that ranks train."""
RENDEZVOUS = "$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1):$((20000 + SLURM_JOB_ID % 10000))"
"""The rendezvous endpoint of a Slurm job: its first node, at a port that no other job there uses."""


def get_rank() -> int | None:
    """The rank of this process; None if torchrun has not started it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def needs_launch(cluster: Cluster, stage: str) -> bool:
    """Whether this stage is trained by ranks that have not been started."""
    return cluster.launcher != "here" and stage in DISTRIBUTED_STAGES and get_rank() is None


def nodes_and_ranks(cluster: Cluster, arguments: Sequence[str]) -> tuple[int, int]:
    """The number of nodes of a stage and of ranks per node; raises StageError if its layout does not fill the nodes."""
    trained = {*DISTRIBUTED_STAGES, *(name.partition(".")[0] for name in DISTRIBUTED_STAGES)}
    unknown = sorted(name for name in cluster.layouts if name.partition("@")[0] not in trained)
    if unknown:
        stages = ", ".join(DISTRIBUTED_STAGES)
        raise StageError(f"cluster.layouts: {', '.join(unknown)} is not trained by ranks; these stages are: {stages}")
    items = [word.partition("=")[2] for option, word in itertools.pairwise(arguments) if option == "--item"]
    ranks = cluster.layout_of(arguments[0], items).world_size
    ranks_per_node = ranks if cluster.launcher != "slurm" else min(ranks, cluster.ranks_per_node)
    if ranks % ranks_per_node:
        raise StageError(
            f"cluster: the layout of {arguments[0]} has {ranks} ranks, no multiple of ranks_per_node "
            f"{cluster.ranks_per_node}"
        )
    return ranks // ranks_per_node, ranks_per_node


def torchrun_command(cluster: Cluster, arguments: Sequence[str]) -> list[str]:
    """The command that starts one node's ranks of a stage; `arguments` are those of flows.stage."""
    nodes, ranks_per_node = nodes_and_ranks(cluster, arguments)
    options = ["--standalone"]
    if cluster.launcher == "slurm":
        rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint={RENDEZVOUS}", "--rdzv-id=$SLURM_JOB_ID"]
        options = [f"--nnodes={nodes}", *rendezvous]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *options, f"--nproc-per-node={ranks_per_node}"]
    return [*torchrun, "-m", "flows.stage", *arguments]


def shell_command(cluster: Cluster, arguments: Sequence[str]) -> str:
    """`torchrun_command` for a shell, which expands the variables of the Slurm job."""
    return " ".join(word if "$" in word else shlex.quote(word) for word in torchrun_command(cluster, arguments))


def slurm_parameters(cluster: Cluster, arguments: Sequence[str]) -> dict[str, Any]:
    """submitit's parameters of the Slurm job; raises StageError if one is unknown or `time` is missing."""
    from submitit import SlurmExecutor

    nodes, ranks_per_node = nodes_and_ranks(cluster, arguments)
    unknown = sorted(cluster.slurm.keys() - SlurmExecutor._valid_parameters())
    if unknown:
        raise StageError(f"cluster.slurm: submitit knows no {', '.join(unknown)}")
    if "time" not in cluster.slurm:
        raise StageError("cluster.slurm needs `time`, in minutes: without it a job is killed after five")
    parameters: dict[str, Any] = {
        "job_name": arguments[0],
        "nodes": nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": ranks_per_node,
        "cpus_per_task": ranks_per_node * (cluster.threads or 1),
    }
    return parameters | cluster.slurm


def format_launch(cluster: Cluster, arguments: Sequence[str]) -> str:
    """The command or the Slurm script that `launch` would run."""
    if cluster.launcher == "here" or arguments[0] not in DISTRIBUTED_STAGES:
        return shlex.join([sys.executable, "-m", "flows.stage", *arguments])
    if cluster.launcher == "torchrun":
        return shell_command(cluster, arguments)
    parameters = slurm_parameters(cluster, arguments)
    from submitit.slurm.slurm import _make_sbatch_string

    command = shlex.join(["bash", "-c", shell_command(cluster, arguments)])
    return str(_make_sbatch_string(command=command, folder=_slurm_folder(), **parameters))


def launch(cluster: Cluster, arguments: Sequence[str]) -> None:
    """Runs the ranks of a stage until they end; raises StageError if they fail."""
    if cluster.launcher == "slurm":
        _run_slurm_job(cluster, arguments)
        return
    if needs_launch(cluster, arguments[0]):
        command = torchrun_command(cluster, arguments)
    else:
        command = shlex.split(format_launch(cluster, arguments))
    code = subprocess.run(
        command, env=project.environment(), cwd=project.ROOT, preexec_fn=_terminate_with_parent
    ).returncode
    if code:
        raise StageError(f"a rank of {arguments[0]} failed with code {code}; its output is above")


def _terminate_with_parent() -> None:
    """Has Linux end this process when its parent is killed: else ranks would continue to train."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _run_slurm_job(cluster: Cluster, arguments: Sequence[str]) -> None:
    import submitit

    try:
        executor = submitit.SlurmExecutor(_slurm_folder())
    except RuntimeError as error:
        raise StageError(
            f"cluster.launcher is slurm, but: {error}; set it to torchrun or here, or "
            "print what would be submitted with `herd launch --dry`"
        ) from None
    executor.update_parameters(**slurm_parameters(cluster, arguments))
    command = ["bash", "-c", shell_command(cluster, arguments)]
    job = executor.submit(submitit.helpers.CommandFunction(command, cwd=project.ROOT))
    print(f"{arguments[0]}: Slurm job {job.job_id}, output in {job.paths.stdout}", file=sys.stderr)
    try:
        job.results()  # of each node's torchrun
    except KeyboardInterrupt:
        job.cancel()
        raise
    except submitit.core.utils.FailedJobError as error:
        raise StageError(f"{arguments[0]}: Slurm job {job.job_id} failed: {error}") from None


def _slurm_folder() -> str:
    return str(project.STATE / "slurm")


@contextmanager
def init_distributed(layout: Layout, context: Any) -> Iterator[None]:
    """Joins the process group if torchrun started this process, and sets `context.strategy`; else does nothing."""
    if get_rank() is None:
        yield
        return
    import torch
    from torch import distributed as dist

    from stages.distributed.parallel_strategy import ParallelStrategy

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    context.strategy = ParallelStrategy(layout, device)
    yield
    dist.barrier()  # the first rank deletes files that the others may still read
    dist.destroy_process_group()
