"""Start a stage on the ranks of the section `cluster`: one process, torchrun, or a Slurm job.

Examples:
    herd launch --dry pretraining.initial --item member=flagship ...

`python -m flows.stage` calls this module, so `dvc repro` works on a cluster without another command; `--dry` prints the
command that would be started. Ranks train one large model: the phases of pretraining and post-training. A sweep or an
ablation trains many small models, each on its own worker (`cluster.runner`). Every other stage runs in one process.
"""

import argparse
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

from flows import command, project
from flows.parameters import Cluster, Parameters, stage_modules
from stages.distributed.layout import Layout
from stages.interface import StageError

RANKED = (
    "pretraining.initial",
    "pretraining.long_context",
    "pretraining.annealing",
    "posttraining.reward",
    "posttraining.sft",
    "posttraining.dpo",
    "safety.tuning",
)
"""The stages that ranks train."""
HEAD = "$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1):$((20000 + SLURM_JOB_ID % 10000))"
"""Where the nodes of a Slurm job meet: the first of them, at a port that another job there does not use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry", action="store_true", help="print what would be started, and start nothing")
    parser.add_argument("stage", metavar="STAGE", help=f"ranks train {', '.join(RANKED)}")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="as for python -m flows.stage")


def main(options: argparse.Namespace) -> None:
    dry = options.dry or "--dry" in options.rest
    words = [options.stage, *(word for word in options.rest if word != "--dry")]
    cluster = Parameters(project.ROOT).cluster
    known = [name.removeprefix("stages.") for name in stage_modules(project.ROOT)]
    if options.stage not in known:
        raise StageError(f"{options.stage}: not a stage of dvc.yaml; its stages are {', '.join(known)}")
    if dry:
        print(text(cluster, words))
    else:
        start(cluster, words)


def needed(cluster: Cluster, stage: str) -> bool:
    """Whether ranks have yet to be started for this stage."""
    return cluster.launcher != "here" and stage in RANKED and number() is None


def number() -> int | None:
    """Which rank this process is; None where it is none."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def torchrun(cluster: Cluster, words: Sequence[str]) -> list[str]:
    """The command that starts one node's ranks of a stage; `words` are the arguments of flows.stage."""
    nodes, here = shape(cluster, words)
    meet = ["--standalone"]
    if cluster.launcher == "slurm":
        meet = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={HEAD}", "--rdzv-id=$SLURM_JOB_ID"]
    run = [sys.executable, "-m", "torch.distributed.run", *meet, f"--nproc-per-node={here}"]
    return [*run, "-m", "flows.stage", *words]


def items(words: Sequence[str]) -> list[str]:
    """The items of its matrix that a stage is to be run for, such as flagship."""
    return [word.partition("=")[2] for option, word in itertools.pairwise(words) if option == "--item"]


def shape(cluster: Cluster, words: Sequence[str]) -> tuple[int, int]:
    """Nodes of a stage, and ranks on each; raises StageError where its layout does not fill them."""
    trained = {*RANKED, *(name.partition(".")[0] for name in RANKED)}
    unknown = sorted(name for name in cluster.layouts if name.partition("@")[0] not in trained)
    if unknown:
        raise StageError(f"cluster.layouts: no ranks train {', '.join(unknown)}, but {', '.join(RANKED)}")
    ranks = cluster.layout_of(words[0], items(words)).world_size
    here = ranks if cluster.launcher != "slurm" else min(ranks, cluster.ranks_per_node)
    if ranks % here:
        raise StageError(
            f"cluster: the layout of {words[0]} has {ranks} ranks, no multiple of ranks_per_node "
            f"{cluster.ranks_per_node}"
        )
    return ranks // here, here


def line(cluster: Cluster, words: Sequence[str]) -> str:
    """`torchrun` for a shell, which fills in what only the job knows."""
    return " ".join(word if "$" in word else shlex.quote(word) for word in torchrun(cluster, words))


def settings(cluster: Cluster, words: Sequence[str]) -> dict[str, Any]:
    """What Slurm is asked for; raises StageError for what submitit does not know, and where no time is asked for."""
    from submitit import SlurmExecutor

    nodes, here = shape(cluster, words)
    unknown = sorted(cluster.slurm.keys() - SlurmExecutor._valid_parameters())
    if unknown:
        raise StageError(f"cluster.slurm: submitit knows no {', '.join(unknown)}")
    if "time" not in cluster.slurm:
        raise StageError("cluster.slurm needs `time`, in minutes: without it a job is killed after five")
    asked: dict[str, Any] = {
        "job_name": words[0],
        "nodes": nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": here,
        "cpus_per_task": here * (cluster.threads or 1),
    }
    return asked | cluster.slurm


def text(cluster: Cluster, words: Sequence[str]) -> str:
    """What would be started."""
    if cluster.launcher == "here" or words[0] not in RANKED:
        return shlex.join([sys.executable, "-m", "flows.stage", *words])
    if cluster.launcher == "torchrun":
        return line(cluster, words)
    asked = settings(cluster, words)
    from submitit.slurm.slurm import _make_sbatch_string

    command = shlex.join(["bash", "-c", line(cluster, words)])
    return str(_make_sbatch_string(command=command, folder=_folder(), **asked))


def start(cluster: Cluster, words: Sequence[str]) -> None:
    """Runs the ranks of a stage to their end; raises StageError where they fail."""
    if cluster.launcher == "slurm":
        _submit(cluster, words)
        return
    command = torchrun(cluster, words) if needed(cluster, words[0]) else shlex.split(text(cluster, words))
    code = subprocess.run(command, env=project.environment(), cwd=project.ROOT, preexec_fn=_not_alone).returncode
    if code:
        raise StageError(f"a rank of {words[0]} failed with code {code}; what it said stands above")


def _not_alone() -> None:
    """Has Linux end this process when the one that started it is killed: else ranks would train on without it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _submit(cluster: Cluster, words: Sequence[str]) -> None:
    import submitit

    try:
        executor = submitit.SlurmExecutor(_folder())
    except RuntimeError as error:
        raise StageError(
            f"cluster.launcher is slurm, but: {error}; set it to torchrun or here, or "
            "look at what would be submitted with python -m flows.launch --dry"
        ) from None
    executor.update_parameters(**settings(cluster, words))
    job = executor.submit(submitit.helpers.CommandFunction(["bash", "-c", line(cluster, words)], cwd=project.ROOT))
    print(f"{words[0]}: Slurm job {job.job_id}, output in {job.paths.stdout}", file=sys.stderr)
    try:
        job.results()  # of each node's torchrun
    except KeyboardInterrupt:
        job.cancel()
        raise
    except submitit.core.utils.FailedJobError as error:
        raise StageError(f"{words[0]}: Slurm job {job.job_id} failed: {error}") from None


def _folder() -> str:
    return str(project.STATE / "slurm")


@contextmanager
def joined(layout: Layout, context: Any) -> Iterator[None]:
    """Joins the process group if torchrun started this process, and sets `context.strategy`; else does nothing."""
    if number() is None:
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
    dist.barrier()  # the first rank clears away what the others may still read
    dist.destroy_process_group()


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
