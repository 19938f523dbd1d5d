import json
import urllib.request

import psutil

from flows.tracking.events import is_running
from flows.tracking.prefect_server import is_healthy
from tests.flows import documentation
from tests.flows.project import Project


def test_both_pages_answer_and_a_second_start_starts_nothing(pages: Project) -> None:
    path = pages.root / ".herd/ui.json"
    before = json.loads(path.read_text())
    assert all(is_running(server) for server in before.values())
    output = pages.flows("ui", "start")
    assert json.loads(path.read_text()) == before
    for server in before.values():
        assert server["url"] in output and is_healthy(server["url"])
    with urllib.request.urlopen(
        before["mlflow"]["url"] + "/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=herd", timeout=10
    ) as answer:
        assert json.load(answer)["experiment"]["name"] == "herd"


def test_stop_spares_a_process_that_has_inherited_a_pid(project: Project) -> None:
    with psutil.Popen(["sleep", "60"], start_new_session=True) as stranger:
        old = {"pid": stranger.pid, "created": stranger.create_time() - 100}  # the pid was another process's then
        (project.root / ".herd").mkdir()
        (project.root / ".herd/ui.json").write_text(json.dumps({"prefect": old}))
        assert "no server was running" in project.flows("ui", "stop")
        assert stranger.is_running() and stranger.poll() is None
        stranger.kill()


def test_the_documented_command_prints_both_addresses(pages: Project) -> None:
    (command,) = documentation.checks("pages")
    documentation.run(command, pages.root, pages.environment())
