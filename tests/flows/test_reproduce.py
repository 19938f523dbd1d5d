"""`herd repro` against `dvc repro`, with and without a Prefect server."""

import signal
import sys
import time
from collections.abc import Callable

from flows.execution.dag import sort_lock
from flows.tracking.events import read_lock
from tests.flows.project import Project

ALL = {"source", "count", "train@small", "train@flagship", "report"}


def lock(project: Project) -> bytes:
    return (project.root / "dvc.lock").read_bytes()


def test_leaves_the_bytes_that_dvc_repro_leaves(project: Project, reference: Project) -> None:
    output = project.flows("reproduce", HERD_TRACKING="off")
    assert "[5/5] report: " in output and "no Prefect server; running without" in output
    assert lock(project) == lock(reference)
    assert (project.root / "reports/index.html").read_bytes() == (reference.root / "reports/index.html").read_bytes()
    assert project.repro(HERD_TRACKING="off").count("didn't change") == 5

    started = time.monotonic()
    output = project.flows("reproduce", HERD_TRACKING="off")
    assert output.count("up to date") == 5
    assert time.monotonic() - started < 5
    assert lock(project) == lock(reference)


def test_reproduces_only_what_is_asked_for_and_what_that_needs(project: Project) -> None:
    output = project.flows("reproduce", "train@small", "--scale", "toy", HERD_TRACKING="off")
    assert list(read_lock(project.root)) == ["source", "train@small"]
    assert "[2/2] train@small" in output
    assert "scale: toy " in (project.root / "params.yaml").read_text()
    assert project.events("train@small")[0]["parameters"]["train"] == {"steps": 1300, "rate": 0.5}


def test_an_unknown_stage_is_named(project: Project) -> None:
    assert "'nosuch'" in project.flows("reproduce", "nosuch", code=1, HERD_TRACKING="off")


def test_a_failure_names_the_stage_and_what_is_done_stays_done(project: Project) -> None:
    project.edit("params.yaml", 'member: ""', "member: small")
    output = project.flows("reproduce", "--workers", "1", code=1, HERD_TRACKING="off")
    assert "the loss is not finite; lower train.rate" in output
    assert "herd repro: stage train@small failed" in output
    assert "Traceback" not in output
    done = list(read_lock(project.root))
    assert done[:2] == ["source", "count"] and "report" not in done


def test_an_interrupt_stops_it_and_what_is_done_stays_done(project: Project) -> None:
    flag = project.root / "flag"
    process = project.start(
        [sys.executable, "-m", "flows.reproduce", "train@small"], MINI_WAIT=str(flag), HERD_TRACKING="off"
    )
    wait_for(flag.with_name("flag.started").exists)
    process.send_signal(signal.SIGINT)  # to the driver alone; a terminal would send it to all
    time.sleep(0.3)
    flag.touch()
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert next(iter(read_lock(project.root))) == "source"
    assert "killed" not in output and "Traceback" not in output


def test_new_entries_take_their_place_after_the_old_ones(finished: Project, reference: Project) -> None:
    plan = ["source", "count", "train@small", "train@flagship", "report"]
    sort_lock(finished.root, [], reversed(plan))
    assert list(read_lock(finished.root)) == plan[::-1]
    sort_lock(finished.root, ["report", "count"], plan)  # these two were there before, in this order
    assert list(read_lock(finished.root)) == ["report", "count", "source", "train@small", "train@flagship"]
    sort_lock(finished.root, [], plan)
    assert lock(finished) == lock(reference)


def test_a_server_sees_one_run_with_the_stages_as_its_children(
    finished: Project, reference: Project, api: str, ask: Callable[..., list[dict]]
) -> None:
    todo = {"train@small", "train@flagship", "report"}
    finished.forget(*todo)
    output = finished.flows("reproduce", PREFECT_API_URL=api, HERD_TRACKING="off")
    assert "Prefect server lost" not in output
    assert lock(finished) == lock(reference)

    name = max(path.name for path in (finished.root / ".herd/events").iterdir())
    (parent,) = ask("flow_runs", flow_runs={"name": {"any_": [f"smoke {name}"]}})
    assert parent["state_name"] == "Completed"
    tasks = ask("task_runs", flow_runs={"id": {"any_": [parent["id"]]}})
    stages = {task["name"]: task for task in tasks if "__parents__" not in task["task_inputs"]}
    links = {task["id"]: task["name"] for task in tasks if "__parents__" in task["task_inputs"]}
    assert set(stages) == ALL
    states = {name: task["state_name"] for name, task in stages.items()}
    assert states == dict.fromkeys(ALL, "Completed") | {"source": "Cached", "count": "Cached"}
    edges = {(up["id"], name) for name, task in stages.items() for up in task["task_inputs"].get("wait_for", [])}
    wanted = {
        ("source", "count"),
        ("source", "train@small"),
        ("source", "train@flagship"),
        ("count", "report"),
        ("train@small", "report"),
        ("train@flagship", "report"),
    }
    assert edges == {(stages[up]["id"], down) for up, down in wanted}

    children = ask("flow_runs", flow_runs={"parent_task_run_id": {"any_": list(links)}})
    assert {child["name"]: child["state_name"] for child in children} == dict.fromkeys(todo, "Completed")
    assert all(links[child["parent_task_run_id"]] == child["name"] for child in children)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
