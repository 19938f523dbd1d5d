"""What stands where in MLflow: the only file that knows its API.

One run per reproduction, with all parameters and every stage's final metrics (so that two reproductions compare in one
table); below it one run per stage, with its own parameters, curves, final metrics, tables, inputs by DVC md5; below
that one per part of its work that is looked at by itself (a model of a sweep). Each method may be called again with the
same arguments and changes nothing then.
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
from flows.tracking.events import numbers

EXPERIMENT = "herd"
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
FINAL = re.compile(r"models/([^/]+)/chat")
"""Where the DAG puts the models that are ready to talk to; the group is the member's name."""


def uri() -> str:
    """Where MLflow keeps its records: MLFLOW_TRACKING_URI, else a database in the project's own folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STATE / 'mlflow.db'}"


class Writer:
    """Writes to the experiment "herd"."""

    def __init__(self) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        local = (STATE / "mlruns").as_uri() if uri().startswith("sqlite") else None
        STATE.mkdir(exist_ok=True)
        with FileLock(STATE / "mlflow.lock"):  # two processes that create the database at the same time spoil it
            self.client = MlflowClient(uri(), registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri())
            found = self.client.get_experiment_by_name(EXPERIMENT)
            self.experiment: str = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, local)

    def reproduction(self, facts: Mapping[str, Any]) -> str:
        """The run of a reproduction; `facts` is its reproduction.json."""
        started = facts["started"]
        name = f"{facts['scale']} {_clock(started)}"
        tags = {"herd.reproduction": facts["name"], "herd.scale": facts["scale"], **_origin(facts)}
        run = self._run(f"{facts['name']}", name, started, tags)
        self._parameters(run, facts["parameters"])
        return run

    def stage(self, parent: str, facts: Mapping[str, Any], start: Mapping[str, Any]) -> str:
        """The run of a stage; `start` is its start event."""
        tags = {
            "mlflow.parentRunId": parent,
            "mlflow.source.name": f"flows.stage {start['stage']}",
            "herd.stage": start["name"],
            "herd.stage_of": facts["name"],
            **{f"herd.item.{key}": value for key, value in start["item"].items()},
            **_origin(facts),
        }
        run = self._run(f"{facts['name']}/{start['name']}/{start['time']}", start["name"], start["time"], tags)
        self._parameters(run, start["parameters"])
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

    def points(self, run: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Points of curves. The time of each is its event's, so that MLflow knows a point it already has."""
        metrics = [
            Metric(_key(name), value, int(event["time"] * 1000), event["step"])
            for event in events
            for name, value in sorted(event["values"].items())
        ]
        self._metrics(run, metrics)

    def part(self, stage: str, facts: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """A run below the stage's for a finished part of its work: parameters, results, and the loss over the steps."""
        tags = {"mlflow.parentRunId": stage, "herd.part_of": facts["name"], **_origin(facts)}
        run = self._run(f"{stage}/{event['name']}", event["name"], event["time"], tags)
        self._parameters(run, event["parameters"])
        moment = int(event["time"] * 1000)
        curve = [Metric("loss", value, moment, step) for step, value in event["curve"]]
        self._metrics(
            run, curve + [Metric(_key(f"final/{name}"), value, moment, 0) for name, value in numbers(event["values"])]
        )
        self.client.set_terminated(run, "FINISHED", moment)

    def table(self, run: str, name: str, rows: Sequence[Mapping[str, Any]], tables: Sequence[str]) -> None:
        """A table in the form in which MLflow's pages show one; `tables` names all that the run has so far."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
        self.client.log_dict(run, data, f"tables/{_file(name)}.json")
        known = [{"path": f"tables/{_file(table)}.json", "type": "table"} for table in tables]
        self.client.set_tag(run, "mlflow.loggedArtifacts", json.dumps(known))

    def notes(self, run: str, notes: Sequence[str]) -> None:
        """The description of the run."""
        self.client.set_tag(run, "mlflow.note.content", "\n\n".join(notes)[-5000:])

    def end(self, parent: str, run: str, name: str, event: Mapping[str, Any]) -> None:
        """The end of a stage: its final metrics, on its own run and on the reproduction's."""
        moment = int(event["time"] * 1000)
        if event["status"] == "finished":
            self.client.log_dict(run, event["metrics"], "metrics.json")
            self._final(parent, run, name, event["metrics"], moment)
            self.client.set_tag(run, "herd.seconds", f"{event['seconds']:.2f}")
        else:
            self.client.set_tag(run, "herd.error", event["error"][:5000])
        self.client.set_terminated(run, STATUS[event["status"]], moment)

    def outputs(self, run: str, name: str, outputs: Mapping[str, str], md5: Mapping[str, str], root: Path) -> None:
        """The md5 of what a stage has made; a final model goes into the registry."""
        self.client.set_tag(run, "herd.outputs", json.dumps(md5, sort_keys=True))
        path = outputs.get("model", "")
        kept = root == STATE.parent  # unlike what lies in the throw-away copy of an experiment
        if kept and (member := FINAL.fullmatch(path)) and path in md5:
            try:
                self._register(f"herd-{member[1]}", str((root / path).resolve()), run, md5[path], name)
            except MlflowException as error:
                # A remote server may refuse a model that lies on this machine; all else is recorded.
                self.client.set_tag(run, "herd.registry", f"not registered: {error.message}"[:5000])

    def cached(self, parent: str, facts: Mapping[str, Any], name: str, md5: Mapping[str, str]) -> None:
        """A stage that was up to date: a run that names the one which made the outputs, with the same final metrics."""
        made_by = self._maker(name, md5)
        started = facts["started"]
        tags = {
            "mlflow.parentRunId": parent,
            "mlflow.source.name": "dvc",
            "herd.stage": name,
            "herd.stage_of": facts["name"],
            "herd.source_run": made_by.info.run_id if made_by else "unknown",
            "herd.outputs": json.dumps(md5, sort_keys=True),
            **_origin(facts),
        }
        run = self._run(f"{facts['name']}/{name}/cached", f"{name} (cached)", started, tags)
        moment = int(started * 1000)
        if made_by:
            self._parameters(run, made_by.data.params)
            metrics = self._metrics_of(made_by)
            self._final(parent, run, name, metrics, moment)
            self.client.set_tag(run, "mlflow.note.content", f"Up to date; made by run {made_by.info.run_id}.")
        self.client.set_terminated(run, "FINISHED", moment)

    def close(self, parent: str, statuses: Sequence[str]) -> None:
        """The end of a reproduction, from the ends of its stages."""
        status = next((status for status in ("failed", "killed") if status in statuses), "finished")
        ends = [run.info.end_time for run in self._search(f"tags.`mlflow.parentRunId` = '{parent}'")]
        self.client.set_terminated(parent, STATUS[status], max((end for end in ends if end), default=None))

    def _final(self, parent: str, run: str, name: str, metrics: Mapping[str, Any], moment: int) -> None:
        values = list(numbers(metrics))
        self._metrics(run, [Metric(_key(f"final/{path}"), value, moment, 0) for path, value in values])
        self._metrics(parent, [Metric(_key(f"{name}/{path}"), value, moment, 0) for path, value in values])

    def _maker(self, name: str, md5: Mapping[str, str]) -> Run | None:
        """The latest run that made these outputs."""
        outputs = json.dumps(md5, sort_keys=True)
        for run in self._search(f"tags.`herd.stage` = '{name}' and attributes.status = 'FINISHED'"):
            if run.data.tags.get("herd.outputs") == outputs and "herd.source_run" not in run.data.tags:
                return run
        return None

    def _metrics_of(self, run: Run) -> dict[str, float]:
        """Final metrics, by the path they had in the stage's metrics."""
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

    def _run(self, key: str, name: str, started: float, tags: Mapping[str, str]) -> str:
        """The run with this key; made if it is not there."""
        if found := self._search(f"tags.`herd.key` = '{key}'"):
            return found[0].info.run_id
        tags = {"mlflow.runName": name, "mlflow.user": "herd", "mlflow.source.type": "JOB", "herd.key": key, **tags}
        return self.client.create_run(self.experiment, int(started * 1000), tags, name).info.run_id

    def _search(self, condition: str) -> list[Run]:
        return list(self.client.search_runs([self.experiment], condition, ViewType.ACTIVE_ONLY, 1000))

    def _parameters(self, run: str, tree: Mapping[str, Any]) -> None:
        parameters = [Param(_key(path), _text(value)[:5900]) for path, value in _flat(tree)]
        for start in range(0, len(parameters), 100):
            self.client.log_batch(run, params=parameters[start : start + 100])

    def _metrics(self, run: str, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run, metrics=metrics[start : start + 1000])


def _flat(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _key(name: str) -> str:
    """A name that MLflow takes for a metric or a parameter."""
    return re.sub(r"[^\w\-. :/]", ".", name)[:250]


def _file(name: str) -> str:
    return re.sub(r"[^\w\-.]", "-", name)


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def _origin(facts: Mapping[str, Any]) -> dict[str, str]:
    """Tags that every run of a reproduction carries."""
    tags = {"mlflow.source.git.commit": facts["commit"], "DVC_EXP_NAME": facts["experiment"]}
    return {key: value for key, value in tags.items() if value}
