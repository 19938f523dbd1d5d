"""Writes runs to MLflow; the only module that uses its API.

One run per reproduction, with all parameters and every stage's final metrics, so that two reproductions compare in one
table; below it one run per stage, with its parameters, curves, final metrics, tables, and inputs by DVC md5; below that
one run per child run of a stage (a model of a sweep). Every method is idempotent.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException

from flows.execution.artifact import canonical_json
from flows.project import STATE
from flows.tracking.events import flatten_numbers

EXPERIMENT = "herd"
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
FINAL_MODEL = re.compile(r"models/([^/]+)/chat")
"""The paths of the final models; the group is the member's name."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or a database in the project's own folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STATE / 'mlflow.db'}"


class MlflowWriter:
    """Writes to the experiment "herd"."""

    def __init__(self) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        local = (STATE / "mlruns").as_uri() if tracking_uri().startswith("sqlite") else None
        STATE.mkdir(exist_ok=True)
        with FileLock(STATE / "mlflow.lock"):  # two processes must not create the database at the same time
            self.client = MlflowClient(
                tracking_uri(), registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri()
            )
            existing = self.client.get_experiment_by_name(EXPERIMENT)
            self.experiment: str = (
                existing.experiment_id if existing else self.client.create_experiment(EXPERIMENT, local)
            )

    def start_reproduction(self, metadata: Mapping[str, Any]) -> str:
        """The run of a reproduction; `metadata` is its reproduction.json."""
        started = metadata["started"]
        name = f"{metadata['scale']} {_format_time(started)}"
        tags = {"herd.reproduction": metadata["name"], "herd.scale": metadata["scale"], **_common_tags(metadata)}
        run = self._find_or_create_run(f"{metadata['name']}", name, started, tags)
        self._log_parameters(run, metadata["parameters"])
        return run

    def start_stage(self, parent: str, metadata: Mapping[str, Any], start: Mapping[str, Any]) -> str:
        """The run of a stage; `start` is its start event."""
        tags = {
            "mlflow.parentRunId": parent,
            "mlflow.source.name": f"flows.stage {start['stage']}",
            "herd.stage": start["name"],
            "herd.stage_of": metadata["name"],
            **{f"herd.item.{key}": value for key, value in start["item"].items()},
            **_common_tags(metadata),
        }
        run = self._find_or_create_run(
            f"{metadata['name']}/{start['name']}/{start['time']}", start["name"], start["time"], tags
        )
        self._log_parameters(run, start["parameters"])
        datasets = [
            DatasetInput(
                Dataset(name=path, digest=start["md5"][path], source_type="dvc", source=json.dumps({"path": path})),
                [InputTag("mlflow.data.context", name)],
            )
            for name, path in sorted(start["inputs"].items())
            if path in start["md5"]
        ]
        if datasets:
            self.client.log_inputs(run, datasets)
        return run

    def log_points(self, run: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Points of curves. Their time is the event's, so that MLflow recognises a point that it already has."""
        metrics = [
            Metric(_key(name), value, int(event["time"] * 1000), event["step"])
            for event in events
            for name, value in sorted(event["values"].items())
        ]
        self._log_metrics(run, metrics)

    def log_child_run(self, stage: str, metadata: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """A run below the stage's: parameters, results, and the loss over the steps."""
        tags = {"mlflow.parentRunId": stage, "herd.part_of": metadata["name"], **_common_tags(metadata)}
        run = self._find_or_create_run(f"{stage}/{event['name']}", event["name"], event["time"], tags)
        self._log_parameters(run, event["parameters"])
        moment = int(event["time"] * 1000)
        curve = [Metric("loss", value, moment, step) for step, value in event["curve"]]
        self._log_metrics(
            run,
            curve
            + [Metric(_key(f"final/{name}"), value, moment, 0) for name, value in flatten_numbers(event["values"])],
        )
        self.client.set_terminated(run, "FINISHED", moment)

    def log_table(self, run: str, name: str, rows: Sequence[Mapping[str, Any]], tables: Sequence[str]) -> None:
        """A table in the format that MLflow's pages show; `tables` names all tables of the run so far."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
        self.client.log_dict(run, data, f"tables/{_file_name(name)}.json")
        artimetadata = [{"path": f"tables/{_file_name(table)}.json", "type": "table"} for table in tables]
        self.client.set_tag(run, "mlflow.loggedArtimetadata", json.dumps(artimetadata))

    def set_notes(self, run: str, notes: Sequence[str]) -> None:
        """The description of the run."""
        self.client.set_tag(run, "mlflow.note.content", "\n\n".join(notes)[-5000:])

    def end_stage(self, parent: str, run: str, name: str, event: Mapping[str, Any]) -> None:
        """The end of a stage: its final metrics, on its own run and on the reproduction's."""
        moment = int(event["time"] * 1000)
        if event["status"] == "finished":
            self.client.log_dict(run, event["metrics"], "metrics.json")
            self._log_final_metrics(parent, run, name, event["metrics"], moment)
            self.client.set_tag(run, "herd.seconds", f"{event['seconds']:.2f}")
        else:
            self.client.set_tag(run, "herd.error", event["error"][:5000])
        self.client.set_terminated(run, STATUS[event["status"]], moment)

    def log_outputs(self, run: str, name: str, outputs: Mapping[str, str], md5: Mapping[str, str], root: Path) -> None:
        """The md5 of a stage's outputs; a final model is registered."""
        self.client.set_tag(run, "herd.outputs", json.dumps(md5, sort_keys=True))
        path = outputs.get("model", "")
        is_permanent = root == STATE.parent  # not the temporary copy of an experiment
        if is_permanent and (member := FINAL_MODEL.fullmatch(path)) and path in md5:
            try:
                self._register(f"herd-{member[1]}", str((root / path).resolve()), run, md5[path], name)
            except MlflowException as error:
                # A remote server may refuse a model on this machine's disk; everything else is logged.
                self.client.set_tag(run, "herd.registry", f"not registered: {error.message}"[:5000])

    def log_cached_stage(self, parent: str, metadata: Mapping[str, Any], name: str, md5: Mapping[str, str]) -> None:
        """A stage that was up to date: a run with the final metrics of the run that made the outputs, and its id."""
        source = self._find_source(name, md5)
        started = metadata["started"]
        tags = {
            "mlflow.parentRunId": parent,
            "mlflow.source.name": "dvc",
            "herd.stage": name,
            "herd.stage_of": metadata["name"],
            "herd.source_run": source.info.run_id if source else "unknown",
            "herd.outputs": json.dumps(md5, sort_keys=True),
            **_common_tags(metadata),
        }
        run = self._find_or_create_run(f"{metadata['name']}/{name}/cached", f"{name} (cached)", started, tags)
        moment = int(started * 1000)
        if source:
            self._log_parameters(run, source.data.params)
            metrics = self._final_metrics(source)
            self._log_final_metrics(parent, run, name, metrics, moment)
            self.client.set_tag(run, "mlflow.note.content", f"Up to date; made by run {source.info.run_id}.")
        self.client.set_terminated(run, "FINISHED", moment)

    def end_reproduction(self, parent: str, statuses: Sequence[str]) -> None:
        """The end of a reproduction: the worst status and the latest end of its stages."""
        status = next((status for status in ("failed", "killed") if status in statuses), "finished")
        ends = [run.info.end_time for run in self._search(f"tags.`mlflow.parentRunId` = '{parent}'")]
        self.client.set_terminated(parent, STATUS[status], max((end for end in ends if end), default=None))

    def _log_final_metrics(self, parent: str, run: str, name: str, metrics: Mapping[str, Any], moment: int) -> None:
        values = list(flatten_numbers(metrics))
        self._log_metrics(run, [Metric(_key(f"final/{path}"), value, moment, 0) for path, value in values])
        self._log_metrics(parent, [Metric(_key(f"{name}/{path}"), value, moment, 0) for path, value in values])

    def _find_source(self, name: str, md5: Mapping[str, str]) -> Run | None:
        """The latest run that made these outputs; None if there is none."""
        outputs = json.dumps(md5, sort_keys=True)
        for run in self._search(f"tags.`herd.stage` = '{name}' and attributes.status = 'FINISHED'"):
            if run.data.tags.get("herd.outputs") == outputs and "herd.source_run" not in run.data.tags:
                return run
        return None

    def _final_metrics(self, run: Run) -> dict[str, float]:
        """Final metrics by their path in the stage's metrics."""
        return {key.removeprefix("final/"): v for key, v in run.data.metrics.items() if key.startswith("final/")}

    def _register(self, model: str, source: str, run: str, md5: str, stage: str) -> None:
        try:
            self.client.create_registered_model(model, description="A member of the herd, ready to talk to.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self.client.search_model_versions(f"name = '{model}'")
        if not any(version.tags.get("md5") == md5 for version in versions):
            self.client.create_model_version(model, source, run, tags={"md5": md5, "stage": stage})

    def _find_or_create_run(self, key: str, name: str, started: float, tags: Mapping[str, str]) -> str:
        """The id of the run with this key, which is created if there is none."""
        if runs := self._search(f"tags.`herd.key` = '{key}'"):
            return runs[0].info.run_id
        tags = {"mlflow.runName": name, "mlflow.user": "herd", "mlflow.source.type": "JOB", "herd.key": key, **tags}
        return self.client.create_run(self.experiment, int(started * 1000), tags, name).info.run_id

    def _search(self, condition: str) -> list[Run]:
        return list(self.client.search_runs([self.experiment], condition, ViewType.ACTIVE_ONLY, 1000))

    def _log_parameters(self, run: str, tree: Mapping[str, Any]) -> None:
        parameters = [Param(_key(path), _format(value)[:5900]) for path, value in _flatten(tree)]
        for start in range(0, len(parameters), 100):
            self.client.log_batch(run, params=parameters[start : start + 100])

    def _log_metrics(self, run: str, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run, metrics=metrics[start : start + 1000])


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _format(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _key(name: str) -> str:
    """`name` in the characters and length that MLflow accepts for a metric or a parameter."""
    return re.sub(r"[^\w\-. :/]", ".", name)[:250]


def _file_name(name: str) -> str:
    return re.sub(r"[^\w\-.]", "-", name)


def _format_time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def _common_tags(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Tags that every run of a reproduction carries."""
    tags = {"mlflow.source.git.commit": metadata["commit"], "DVC_EXP_NAME": metadata["experiment"]}
    return {key: value for key, value in tags.items() if value}
