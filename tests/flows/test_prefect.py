"""A stage as a Prefect flow, and what becomes of it when the server does not do its part."""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.tracking import prefect_server
from flows.tracking.events import read_lock
from tests.flows.project import Project
from tests.flows.test_reproduce import wait_for


def latest(ask: Callable[..., list[dict]], name: str) -> dict:
    return ask("flow_runs", flow_runs={"name": {"any_": [name]}}, sort="START_TIME_DESC", limit=1)[0]


def test_a_stage_is_a_flow_with_tasks_and_artifacts(
    finished: Project, api: str, ask: Callable[..., list[dict]], tmp_path: Path
) -> None:
    finished.repro("-sf", "count", PREFECT_API_URL=api, MINI_CRASH=str(tmp_path / "crashed"), HERD_TRACKING="off")
    run = latest(ask, "count")
    assert run["state_name"] == "Completed"
    assert run["parameters"]["inputs"] == {"documents": "data/source"}
    tasks = ask("task_runs", flow_runs={"id": {"any_": [run["id"]]}})
    assert {task["name"]: task["state_name"] for task in tasks} == {f"length-{i}": "Completed" for i in range(6)}
    assert max(task["run_count"] for task in tasks) == 2  # a worker process died; its tasks were run again
    artifacts = ask("artifacts", flow_runs={"id": {"any_": [run["id"]]}})
    data = {artifact["key"]: artifact for artifact in artifacts}
    assert data["count-length"]["type"] == "progress" and float(data["count-length"]["data"]) == 100
    assert json.loads(data["count-result"]["data"]) == [{"metric": "characters", "value": 10.0}]
    assert data["count-notes"]["data"] == "six of the lines"


def test_a_failed_stage_is_a_failed_flow_and_fails_with_its_own_words(
    finished: Project, api: str, ask: Callable[..., list[dict]]
) -> None:
    finished.edit("params.yaml", 'member: ""', "member: small")
    output = finished.repro("-s", "train@small", code=255, PREFECT_API_URL=api, HERD_TRACKING="off")
    assert "mini.train: models: the loss is not finite; lower train.rate" in output
    assert "Traceback" not in output
    assert latest(ask, "train@small")["state_name"] == "Failed"


class Line:
    """A connection to the Prefect server that can be cut, or kept open and go dead."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition("/")[0].partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._dead = False
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api"
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """As if the server had been killed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """As if the server had been stopped: it takes requests, and never answers."""
        self._dead = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, there = self._listener.accept()[0], socket.create_connection(self._target)
                self._ends += [here, there]
                Thread(target=self._carry, args=(here, there), daemon=True).start()
                Thread(target=self._carry, args=(there, here), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self._dead:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("harm", [Line.cut, Line.hang])
def test_a_server_that_dies_or_hangs_costs_the_stage_nothing(
    finished: Project, reference: Project, api: str, ask: Callable[..., list[dict]], harm: Callable[[Line], None]
) -> None:
    line, flag = Line(api), finished.root / "flag"
    finished.forget("train@small")
    variables = {
        "PREFECT_API_URL": line.address,
        "PREFECT_API_REQUEST_TIMEOUT": "1",
        "MINI_WAIT": str(flag),
        "HERD_TRACKING": "off",
    }
    process = finished.start(["dvc", "repro", "train@small"], **variables)
    wait_for(flag.with_name("flag.started").exists)
    assert latest(ask, "train@small")["state_name"] == "Running"
    harm(line)
    flag.touch()
    started = time.monotonic()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "Prefect server lost, the stage continues" in output
    assert time.monotonic() - started < 30
    assert read_lock(finished.root) == read_lock(reference.root)
    assert finished.events("train@small")[-1]["status"] == "finished"


def test_without_a_server_prefect_is_not_even_imported(project: Project) -> None:
    code = (
        "import sys\nfrom flows import stage\nfrom flows.tracking import prefect_server\n"
        "assert not prefect_server.connect()\nprint(sorted(sys.modules))"
    )
    modules = project.run([sys.executable, "-c", code])
    assert "'flows.stage'" in modules
    assert not {"prefect", "mlflow", "dvc"} & {name.strip("'[], \n").partition(".")[0] for name in modules.split(" ")}


def test_a_stranger_that_answers_is_not_taken_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        assert prefect_server.find_server() is None
        server.shutdown()
