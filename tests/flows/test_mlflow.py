"""What MLflow knows after reproductions of the miniature herd."""

import json
import shutil
import time
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.flows.project import Project


class Records:
    """What stands in a project's MLflow database."""

    def __init__(self, project: Project) -> None:
        self.client = mlflow.MlflowClient(f"sqlite:///{project.root}/.herd/mlflow.db")
        self.experiment = self.client.get_experiment_by_name("herd").experiment_id

    def runs(self, **tags: str) -> dict:
        """name -> run, of the runs with these tags (herd.<tag>)."""
        condition = " and ".join(f"tags.`herd.{tag}` = '{value}'" for tag, value in tags.items())
        return {run.info.run_name: run for run in self.client.search_runs([self.experiment], condition)}

    def reproductions(self) -> list:
        """Parent runs, oldest first."""
        runs = self.client.search_runs([self.experiment], order_by=["attributes.start_time"])
        return [run for run in runs if "herd.reproduction" in run.data.tags]


@pytest.fixture(scope="module")
def tracked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two reproductions: all of it, then the report alone; and a look at each that found nothing to do."""
    project = Project(Path(shutil.copytree(template, tmp_path_factory.mktemp("tracked") / "mini")))
    project.repro()
    project.sync()
    project.repro()
    project.edit("stages/mini/report.py", "<html>", "<html><body>")
    project.repro()
    project.sync()
    return project


@pytest.fixture(scope="module")
def records(tracked: Project) -> Records:
    return Records(tracked)


def md5s(project: Project) -> dict[str, str]:
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def test_one_run_per_reproduction_with_its_stages_below(records: Records) -> None:
    first, second = records.reproductions()  # the `dvc repro` between them ran nothing and left none
    assert first.info.status == second.info.status == "FINISHED"
    assert first.info.run_name.startswith("smoke 20")
    assert first.data.params["train.steps"] == "1200" and first.data.params["seed"] == "7"
    assert len(first.data.tags["mlflow.source.git.commit"]) == 40
    stages = records.runs(stage_of=first.data.tags["herd.reproduction"])
    assert set(stages) == {"source", "count", "train@small", "train@flagship", "report"}
    assert {run.data.tags["mlflow.parentRunId"] for run in stages.values()} == {first.info.run_id}
    assert {run.info.status for run in stages.values()} == {"FINISHED"}


def test_a_curve_has_every_point_once(records: Records) -> None:
    first = records.reproductions()[0]
    run = records.runs(stage_of=first.data.tags["herd.reproduction"])["train@flagship"]
    history = records.client.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(k, 2 / (k + 1)) for k in range(1200)]


def test_a_stage_has_its_parameters_metrics_notes_and_tables(records: Records, tracked: Project) -> None:
    first = records.reproductions()[0]
    stages = records.runs(stage_of=first.data.tags["herd.reproduction"])
    assert stages["train@small"].data.params == {"train.steps": "1200", "train.rate": "0.5", "trouble.member": ""}
    assert stages["train@small"].data.metrics["final/loss"] == 2 / 1200
    assert stages["train@small"].data.metrics["final/stable"] == 1
    assert stages["train@small"].data.tags["herd.item.member"] == "small"
    source = stages["source"]
    assert source.data.tags["mlflow.note.content"] == "forty documents"
    assert source.data.metrics == {
        "final/documents": 40,
        "final/by.odd": 20,
        "final/by.even.0": 10,
        "final/by.even.1": 10,
    }
    path = records.client.download_artifacts(source.info.run_id, "tables/documents.json")
    assert json.loads(Path(path).read_text()) == {"columns": ["kind", "count"], "data": [["odd", 20], ["even", 20]]}


def test_a_part_of_a_stage_is_a_run_below_it(records: Records, tracked: Project) -> None:
    first = records.reproductions()[0]
    name = first.data.tags["herd.reproduction"]
    parts = records.runs(part_of=name)
    assert set(parts) == {"line 0", "line 1"}
    part = parts["line 1"]
    assert part.data.tags["mlflow.parentRunId"] == records.runs(stage_of=name)["count"].info.run_id
    assert part.data.params == {"line": "1", "of": "source"} and part.info.status == "FINISHED"
    count = next(event for event in tracked.events("count") if event.get("name") == "line 1")
    assert part.data.metrics == {"loss": 1.5, "final/length": count["values"]["length"]}
    history = records.client.get_metric_history(part.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(1, 3.0), (2, 1.5)]


def test_inputs_and_outputs_carry_the_md5_of_dvc(records: Records, tracked: Project) -> None:
    md5 = md5s(tracked)
    second = records.reproductions()[1]
    report = records.runs(stage_of=second.data.tags["herd.reproduction"])["report"]
    inputs = {entry.dataset.name: entry.dataset.digest for entry in report.inputs.dataset_inputs}
    paths = ["data/count", "models/flagship/chat", "models/small/chat"]
    assert inputs == {path: md5[path] for path in paths}
    made = json.loads(report.data.tags["herd.outputs"])
    assert made == {path: md5[path] for path in ("metrics/report.json", "reports/index.html")}


def test_a_skipped_stage_names_the_run_that_made_its_output(records: Records) -> None:
    first, second = records.reproductions()
    made = records.runs(stage_of=first.data.tags["herd.reproduction"])
    runs = records.runs(stage_of=second.data.tags["herd.reproduction"])
    assert set(runs) == {"report", *(f"{name} (cached)" for name in made if name != "report")}
    cached = runs["train@small (cached)"]
    assert cached.data.tags["herd.source_run"] == made["train@small"].info.run_id
    assert cached.data.metrics["final/loss"] == 2 / 1200
    assert cached.data.params == made["train@small"].data.params
    assert set(first.data.metrics) == set(second.data.metrics)  # so the two compare in one table
    assert "train.flagship/loss" in second.data.metrics


def test_final_models_are_registered_once(records: Records, tracked: Project) -> None:
    md5 = md5s(tracked)
    for member in ("small", "flagship"):
        (version,) = records.client.search_model_versions(f"name = 'herd-{member}'")
        assert version.source == str(tracked.root / f"models/{member}/chat")
        assert version.tags["md5"] == md5[f"models/{member}/chat"]
        assert records.client.get_run(version.run_id).info.run_name == f"train@{member}"


def test_what_is_carried_over_twice_stands_there_once(tracked: Project, records: Records) -> None:
    """As after a process that died between MLflow's answer and its own note of it. The next reproduction starts another
    one, which goes on by itself; here with a stage that fails."""
    before = everything(records)
    shutil.rmtree(tracked.root / ".herd/tracking")
    tracked.edit("params.yaml", 'member: ""', "member: flagship")
    assert "the loss is not finite; lower train.rate" in tracked.repro(code=255)
    deadline = time.monotonic() + 60
    while (run := records.reproductions()[-1]).info.status != "FAILED":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    after = everything(records)
    assert {key: after[key] for key in before} == before

    runs = records.runs(stage_of=run.data.tags["herd.reproduction"])
    assert runs["train@flagship"].info.status == "FAILED"
    assert "the loss is not finite" in runs["train@flagship"].data.tags["herd.error"]
    assert set(runs) == {"source (cached)", "count (cached)", "train@small", "train@flagship"}
    assert len(after) > len(before) and len(records.reproductions()) == 3


def everything(records: Records) -> dict:
    """Status and parameters of each run, and the number of points of each of its curves."""
    runs = records.client.search_runs([records.experiment])
    points = {
        (run.info.run_id, key): len(records.client.get_metric_history(run.info.run_id, key))
        for run in runs
        for key in run.data.metrics
    }
    return {run.info.run_id: (run.info.status, run.data.params) for run in runs} | points
