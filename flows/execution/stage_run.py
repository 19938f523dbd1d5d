"""One run of a stage: resolves its parameters, runs it under tracking, and publishes its outputs."""

import argparse
import importlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from flows.execution import artifact, launcher
from flows.execution.context import StageContext
from flows.parameters import Parameters, config_keys, result_parameters
from flows.project import ROOT, STATE
from flows.tracking import events, mlflow_sync, prefect_client
from stages.interface import Metrics, Paths, StageError
from stages.training.null_context import NullContext


class StageRun:
    """A run of the stage that `options` of flows.stage describe; raises StageError if a parameter or input is wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.parameters = Parameters(ROOT)
        self.cluster = self.parameters.cluster
        os.environ["OMP_NUM_THREADS"] = str(self.cluster.num_threads)  # before torch is imported
        self.module = import_stage(options.stage)
        self.config = self.parameters.load_config(self.module.Config)
        self.values = self.parameters.select(config_keys(self.module.Config))
        self.parameters.check_resolved(self.values)
        self.inputs = {name: Path(path) for name, path in options.inputs.items()}
        for path in self.inputs.values():
            if not path.exists():
                raise StageError(f"{path} does not exist; `dvc repro` makes it")
        default_name = "-".join([options.stage, *options.item.values()])
        self.name = os.environ.get("DVC_STAGE", default_name).rpartition(":")[2]
        self.rank = launcher.get_rank() or 0
        if launcher.get_rank() is not None:
            importlib.import_module("stages.distributed.parallel_strategy")  # is part of the code of a rank
        parameters = result_parameters(self.module.Config, self.values)
        key = artifact.fingerprint(options.stage, options.item, parameters, self.inputs)
        self.scratch = STATE / "scratch" / key
        self.partial = STATE / "partial" / (f"{key}-{self.rank}" if self.rank else key)
        self.cache = STATE / "cache" / options.stage / artifact.code_hash()[:24]

    def run(self) -> Metrics:
        """Runs the stage. The first rank reports, and its outputs are published."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        if self.rank:
            metrics = self._call_module(self._create_outputs(), NullContext(self.scratch, self.options.item))
            shutil.rmtree(self.partial, ignore_errors=True)
            return metrics
        lock = lock_scratch(self.scratch, self.options.stage)
        metrics = self._run_tracked(self._create_outputs())
        shutil.rmtree(self.partial, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        lock.release()
        return metrics

    def _create_outputs(self) -> dict[str, Path]:
        """Name -> path of each output: an empty directory, or, if the path has a suffix, a file in one."""
        shutil.rmtree(self.partial, ignore_errors=True)
        outputs = {}
        for name, path in self.options.outputs.items():
            outputs[name] = self.partial / name / Path(path).name
            (outputs[name].parent if Path(path).suffix else outputs[name]).mkdir(parents=True)
        return outputs

    def _call_module(self, outputs: Paths, context: Any) -> Metrics:
        layout = self.cluster.layout_of(self.options.stage, self.options.item.values())
        with launcher.init_distributed(layout, context):
            metrics: Metrics = self.module.run(self.config, self.inputs, outputs, context)
        return metrics

    def _run_tracked(self, outputs: Paths) -> Metrics:
        """Runs the stage with an event log, MLflow and, if a server answers, Prefect."""
        options = self.options
        log = self._open_log()
        mlflow_sync.start_in_background()
        context = StageContext(self.name, options.item, self.scratch, self.cache, log, self.cluster)

        def run_and_publish() -> Metrics:
            metrics = self._call_module(outputs, context)
            self._publish(outputs, metrics)
            return metrics

        started = time.monotonic()
        try:
            parameters = {"parameters": self.values, "inputs": options.inputs, "outputs": options.outputs}
            metrics = prefect_client.run_stage(options.stage, self.name, context, run_and_publish, parameters)
        except BaseException as error:
            seconds = time.monotonic() - started
            log.write("end", status="failed", seconds=seconds, error=f"{type(error).__name__}: {error}")
            raise
        finally:
            context.close()
        log.write("end", status="finished", seconds=time.monotonic() - started, metrics=metrics)
        return metrics

    def _open_log(self) -> events.EventLog:
        """Opens the event log of this run and writes its start event."""
        reproduction, driver = events.reproduction_name(), events.find_driver()
        folder = events.open_reproduction(reproduction, driver, self.parameters.scale, self.parameters.resolved)
        entries = events.read_lock(ROOT).values()
        hashes = {path: md5 for entry in entries for path, md5 in events.output_hashes(entry).items()}
        log = events.EventLog(folder, self.name)
        log.write(
            "start",
            stage=self.options.stage,
            name=self.name,
            item=self.options.item,
            process=events.describe_process(psutil.Process()),
            parameters=self.values,
            inputs=self.options.inputs,
            outputs=self.options.outputs,
            md5={path: hashes[path] for path in self.options.inputs.values() if path in hashes},
        )
        return log

    def _publish(self, outputs: Paths, metrics: Metrics) -> None:
        """Writes manifests and moves the outputs, then the metrics, to the paths of the command line."""
        for name, path in outputs.items():
            if path.is_dir():
                artifact.write_manifest(path, self.options.stage, self.values, metrics)
            artifact.publish(path, Path(self.options.outputs[name]))
        if self.options.metrics:
            artifact.write_json(self.options.metrics, metrics)


def import_stage(stage: str) -> Any:
    """The module of a stage; raises StageError if there is none."""
    try:
        module = importlib.import_module(f"stages.{stage}")
    except ModuleNotFoundError as error:
        if not f"stages.{stage}".startswith(str(error.name)):
            raise
        module = None
    if not hasattr(module, "Config"):
        raise StageError("there is no stage of this name: a stage is a module under stages/, such as curation.dedup")
    return module


def lock_scratch(scratch: Path, stage: str) -> FileLock:
    """Locks `scratch` for this process; raises StageError if another process runs the same stage in it."""
    lock = FileLock(scratch / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StageError(
            f"another process runs the same stage in {scratch}; wait for it, or stop it: "
            f"pgrep -f 'flows.stage {stage}' finds it"
        ) from None
    return lock
