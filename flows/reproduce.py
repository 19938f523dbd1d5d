"""Run the stages that are out of date, several at a time, as one Prefect flow run if a server answers.

DVC decides which stages are out of date and runs them, as in `dvc repro`; dvc.lock has the same bytes afterwards.

Examples:
    herd repro                        # the whole DAG at the scale in params.yaml
    herd repro --scale smoke          # set the scale first
    herd repro pretrain@small         # one stage and the stages it needs
"""

import argparse
import os
import sys

from flows import command, scale, status
from flows.arguments import at_least
from flows.parameters import Parameters
from flows.project import ROOT, environment
from flows.tracking import prefect_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help="run these stages and the stages they need (default: all)"
    )
    parser.add_argument("--scale", help="a file of scales/; becomes the scale in params.yaml")
    parser.add_argument("--workers", type=at_least(1), default=2, help="stages that run at a time (default: 2)")


def main(options: argparse.Namespace) -> None:
    os.environ.update(environment())
    if options.scale:
        scale.set_scale(ROOT, options.scale)
    reproduce(options.stages, options.workers)
    print("\n".join(status.format_results()))


def reproduce(stages: list[str], workers: int) -> None:
    """Reproduces `stages` and all they need; raises StageError naming the stage that failed."""
    import psutil

    from flows.execution.dag import Dag, sort_lock
    from flows.execution.display import Display
    from flows.execution.reproduction import NullObserver, Reproduction
    from flows.tracking import events

    parameters = Parameters(ROOT)
    dag = Dag.read(ROOT, stages)
    stale = dag.stale()
    print("\n".join(status.format_forecast(dag, stale, parameters, workers)), flush=True)
    driver = psutil.Process()
    name = os.environ.setdefault("HERD_REPRODUCTION", events.process_name(driver))
    folder = events.open_reproduction(name, driver, parameters.scale, parameters.resolved)
    before = list(events.read_lock(ROOT))
    has_server = prefect_server.connect()
    if not has_server:
        prefect_server.report_no_server(folder)
    try:
        with Display(folder, len(dag.stages)) as display:
            reproduction = Reproduction(dag, set(stale), workers, display)
            if has_server:
                from flows.tracking import prefect_reproduction

                prefect_reproduction.run(name, parameters.scale, reproduction.run)
            else:
                reproduction.run(NullObserver())
    finally:
        sort_lock(ROOT, before, dag.stages)


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
