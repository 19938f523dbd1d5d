"""Start a stage on the ranks of the section `cluster`: one process, torchrun, or a Slurm job.

`python -m flows.stage` starts ranks itself, so `dvc repro` works on a cluster without another command; `--dry` prints
the command that would be started. Ranks train one large model: the phases of pretraining and post-training. A sweep or
an ablation trains many small models, each on its own worker (`cluster.runner`). Every other stage runs in one process.

Examples:
    herd launch --dry pretraining.initial --item member=flagship ...
"""

import argparse
import sys

from flows import command
from flows.execution.launcher import DISTRIBUTED_STAGES, format_launch, launch
from flows.parameters import Parameters, stage_modules
from flows.project import ROOT
from stages.interface import StageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry", action="store_true", help="print the command and start nothing")
    parser.add_argument("stage", metavar="STAGE", help=f"ranks train {', '.join(DISTRIBUTED_STAGES)}")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="as for python -m flows.stage")


def main(options: argparse.Namespace) -> None:
    is_dry = options.dry or "--dry" in options.rest
    arguments = [options.stage, *(word for word in options.rest if word != "--dry")]
    cluster = Parameters(ROOT).cluster
    known = [name.removeprefix("stages.") for name in stage_modules(ROOT)]
    if options.stage not in known:
        raise StageError(f"{options.stage}: not a stage of dvc.yaml; its stages are {', '.join(known)}")
    if is_dry:
        print(format_launch(cluster, arguments))
    else:
        launch(cluster, arguments)


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
