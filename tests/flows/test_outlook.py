from tests.flows.project import Project


def test_says_what_is_stale_and_how_long_it_takes(finished: Project) -> None:
    output = finished.flows("outlook")
    assert "scale smoke: 5 stages, none to run" in output
    finished.edit("stages/mini/count.py", "return len(line)", "return len(line) + 1")
    output = finished.flows("outlook")
    assert "2 to run: count, report" in output
    assert "going by the last time" in output


def test_a_scale_that_never_ran_takes_its_budget(project: Project) -> None:
    output = project.flows("outlook")
    assert "5 to run: source, count, train@small, train@flagship, report" in output
    assert "about 1 minutes at most" in output


def test_at_the_end_names_report_models_and_time(finished: Project) -> None:
    output = finished.flows("outlook", "--done")
    assert "ran 5 stages in" in output and "report: reports/index.html" in output
    assert "model: models/flagship/chat" in output and "model: models/small/chat" in output
    assert "make ui" in output
