from pathlib import Path

import pytest

from flows.execution.dag import Dag
from tests.flows.project import Project


@pytest.mark.parametrize(("workers", "seconds"), [(1, 17.0), (2, 13.0), (3, 11.0)])
def test_a_forecast_lays_stages_side_by_side(workers: int, seconds: float) -> None:
    times = {"data": 1.0, "large": 7.0, "middle": 4.0, "small": 2.0, "report": 3.0}
    needs = {
        "data": [],
        "small": ["data"],
        "middle": ["data"],
        "large": ["data"],
        "report": ["small", "middle", "large"],
    }
    stages = dict.fromkeys(["data", "small", "middle", "large", "report"])
    dag = Dag(Path(), stages, needs)  # type: ignore[arg-type]
    assert dag.critical_path_lengths() == {"data": 3, "small": 2, "middle": 2, "large": 2, "report": 1}
    assert dag.makespan(times, workers) == seconds


def test_says_what_is_stale_and_how_long_it_takes(finished: Project) -> None:
    output = finished.flows("status")
    assert "scale smoke: 5 stages, none to run" in output
    finished.edit("stages/mini/count.py", "return len(line)", "return len(line) + 1")
    output = finished.flows("status")
    assert "2 to run: count, report" in output
    assert "as in earlier runs" in output


def test_a_scale_that_never_ran_takes_its_budget(project: Project) -> None:
    output = project.flows("status")
    assert "5 to run: source, count, train@small, train@flagship, report" in output
    assert "about 1 minutes at most" in output


def test_at_the_end_names_report_models_and_time(finished: Project) -> None:
    output = finished.flows("status", "--last")
    assert "ran 5 stages in" in output and "report: reports/index.html" in output
    assert "model: models/flagship/chat" in output and "model: models/small/chat" in output
    assert "herd ui start" in output
