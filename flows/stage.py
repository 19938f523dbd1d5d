"""Runs one stage: what every command in dvc.yaml calls.

    python -m flows.stage curation.dedup --in documents=data/masked --out documents=data/deduplicated \\
        --metrics metrics/dedup.json

Reads the parameters the stage declares, runs it, and puts its outputs in place only when they are whole. If a Prefect
server answers, the stage runs as a flow; if none does, it runs plainly.
"""

from flows import project

if __name__ == "__main__":
    project.settle()  # before the imports below, which it would cost a second time

import argparse
import importlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from flows import launch
from flows.arguments import named
from flows.execution import artifact
from flows.execution.context import StageContext
from flows.parameters import Parameters, config_keys, result_parameters
from flows.tracking import events, mlflow_sync, prefect_client
from stages.interface import Metrics, StageError
from stages.training.null_context import NullContext

EXAMPLE = "curation.dedup"


def main() -> None:
    arguments = parse(sys.argv[1:])
    code = 1
    try:
        cluster = Parameters(project.ROOT).cluster
        if launch.needed(cluster, arguments.stage):
            launch.start(cluster, sys.argv[1:])
        else:
            run(arguments)
        code = 0
    except StageError as error:
        print(f"{arguments.stage}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
    prefect_client.exit_process(code)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.stage", description=__doc__.split("\n")[0])
    parser.add_argument("stage", help=f"module under stages/, for example {EXAMPLE}")
    parser.add_argument(
        "--item", type=named, action="append", default=[], metavar="NAME=VALUE", help="which of a matrix of stages"
    )
    parser.add_argument("--in", type=named, dest="inputs", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--out", type=named, dest="outputs", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--metrics", type=Path, metavar="PATH", help="where the stage's metrics go, as JSON")
    parser.add_argument(
        "--params",
        action="append",
        default=[],
        metavar="FILE",
        help="a file of parameters besides params.yaml and the scale's",
    )
    arguments = parser.parse_args(words)
    for field, option in (("item", "--item"), ("inputs", "--in"), ("outputs", "--out")):
        setattr(arguments, field, Named(option, getattr(arguments, field)))
    return arguments


class Named(dict[str, str]):
    """What an option was given, by name."""

    def __init__(self, option: str, given: Iterable[tuple[str, str]]) -> None:
        super().__init__(given)
        self.option = option

    def __missing__(self, name: str) -> str:
        raise StageError(f"{self.option} {name}=... is missing")


def run(arguments: argparse.Namespace) -> Metrics:
    """The whole life of one stage; raises StageError with what to do where it cannot go on."""
    parameters = Parameters(project.ROOT, extra_files=arguments.params)
    cluster = parameters.cluster
    os.environ["OMP_NUM_THREADS"] = str(cluster.threads or len(os.sched_getaffinity(0)))  # before torch is imported
    module = module_of(arguments.stage)
    config = parameters.load_config(module.Config)
    values = parameters.select(config_keys(module.Config))
    parameters.check_resolved(values)
    inputs = {name: Path(path) for name, path in arguments.inputs.items()}
    for path in inputs.values():
        if not path.exists():
            raise StageError(f"{path} does not exist; run `dvc repro` to make it")

    name = os.environ.get("DVC_STAGE", "-".join([arguments.stage, *arguments.item.values()])).rpartition(":")[2]
    if launch.number() is not None:
        importlib.import_module("stages.distributed.parallel_strategy")  # what ranks compute depends on it too
    key = artifact.identity(arguments.stage, arguments.item, result_parameters(module.Config, values), inputs)
    rank, layout = launch.number() or 0, cluster.layout_of(arguments.stage, arguments.item.values())
    scratch, partial = project.STATE / "scratch" / key, project.STATE / "partial" / (f"{key}-{rank}" if rank else key)
    scratch.mkdir(parents=True, exist_ok=True)
    held = None if rank else alone(scratch, arguments.stage)
    shutil.rmtree(partial, ignore_errors=True)
    outputs = {}
    for output, path in arguments.outputs.items():
        outputs[output] = partial / output / Path(path).name
        (outputs[output] if not Path(path).suffix else outputs[output].parent).mkdir(parents=True)
    cache = project.STATE / "cache" / arguments.stage / artifact.code()[:24]
    cache.mkdir(parents=True, exist_ok=True)
    if rank:  # the first rank reports, and its outputs are the stage's
        null_context = NullContext(scratch, arguments.item)
        with launch.joined(layout, null_context):
            metrics = module.run(config, inputs, outputs, null_context)
        shutil.rmtree(partial, ignore_errors=True)
        return metrics

    folder = events.open_reproduction(
        events.reproduction_name(), events.find_driver(), parameters.scale, parameters.resolved
    )
    log = events.EventLog(folder, name)
    made = {
        path: md5
        for entry in events.read_lock(project.ROOT).values()
        for path, md5 in events.output_hashes(entry).items()
    }
    md5 = {path: made[path] for path in arguments.inputs.values() if path in made}
    log.write(
        "start",
        stage=arguments.stage,
        name=name,
        item=arguments.item,
        process=events.describe_process(psutil.Process()),
        parameters=values,
        inputs=arguments.inputs,
        outputs=arguments.outputs,
        md5=md5,
    )
    mlflow_sync.start_in_background()
    context = StageContext(name, arguments.item, scratch, cache, log, cluster)

    def body() -> Metrics:
        with launch.joined(layout, context):
            metrics = module.run(config, inputs, outputs, context)
        finish(arguments, outputs, values, metrics)
        return metrics

    started = time.monotonic()
    try:
        facts = {"parameters": values, "inputs": arguments.inputs, "outputs": arguments.outputs}
        metrics = prefect_client.run_stage(arguments.stage, name, context, body, facts)
    except BaseException as error:
        log.write("end", status="failed", seconds=time.monotonic() - started, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        context.close()
    log.write("end", status="finished", seconds=time.monotonic() - started, metrics=metrics)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    if held is not None:
        held.release()
    return metrics


def module_of(stage: str) -> Any:
    """The module of a stage; StageError where there is none."""
    try:
        module = importlib.import_module(f"stages.{stage}")
    except ModuleNotFoundError as error:
        if not f"stages.{stage}".startswith(str(error.name)):
            raise
        module = None
    if not hasattr(module, "Config"):
        raise StageError(f"there is no stage of this name: a stage is a module under stages/, such as {EXAMPLE}")
    return module


def alone(scratch: Path, stage: str) -> FileLock:
    """Takes `scratch` for this process; StageError where another has it: two would spoil each other's checkpoints."""
    held = FileLock(scratch / "lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise StageError(
            f"another process is at work on the same, in {scratch}; wait for it, or stop it: "
            f"pgrep -f 'flows.stage {stage}' finds it"
        ) from None
    return held


def finish(
    arguments: argparse.Namespace, outputs: Mapping[str, Path], values: Mapping[str, Any], metrics: Metrics
) -> None:
    """Seals the outputs and moves them, then the metrics, to where dvc.yaml says."""
    for output, path in outputs.items():
        if path.is_dir():
            artifact.seal(path, arguments.stage, values, metrics)
        artifact.publish(path, Path(arguments.outputs[output]))
    if arguments.metrics:
        artifact.write_json(arguments.metrics, metrics)


if __name__ == "__main__":
    main()
