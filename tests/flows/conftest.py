import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.execution.context import StageContext
from flows.parameters import Cluster
from flows.tracking.events import EventLog, is_running
from tests.flows.project import Project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Project.create(tmp_path_factory.mktemp("herd") / "template").root


@pytest.fixture(scope="session")
def reference(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after one `dvc repro` that nobody watched."""
    root = shutil.copytree(template, tmp_path_factory.mktemp("reference") / "mini")
    project = Project(root)
    project.repro(HERD_TRACKING="off")
    return project


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    """A project in which nothing has been done."""
    return Project(Path(shutil.copytree(template, tmp_path / "mini")))


@pytest.fixture
def finished(reference: Project, tmp_path: Path) -> Project:
    """A copy of the reference, all of it up to date."""
    return Project(Path(shutil.copytree(reference.root, tmp_path / "mini", symlinks=True)))


@pytest.fixture(scope="session")
def pages(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose Prefect server and MLflow UI run; the one server that all tests share."""
    project = Project(Path(shutil.copytree(template, tmp_path_factory.mktemp("pages") / "mini")))
    try:
        project.flows("ui", "start")
        yield project
    finally:
        servers = json.loads((project.root / ".herd/ui.json").read_text())
        assert "stopped prefect and mlflow" in project.flows("ui", "stop")
        assert not any(is_running(server) for server in servers.values())
        assert "no server is running" in project.flows("ui", "status")


@pytest.fixture(scope="session")
def api(pages: Project) -> str:
    """The address of the Prefect server's API."""
    return json.loads((pages.root / ".herd/ui.json").read_text())["prefect"]["api"]


@pytest.fixture(scope="session")
def ask(api: str) -> Callable[..., list[dict]]:
    """Filters runs on the Prefect server."""
    import httpx

    def ask(kind: str, **query: object) -> list[dict]:
        answer = httpx.post(f"{api}/{kind}/filter", json=query, timeout=30)
        answer.raise_for_status()
        return answer.json()

    return ask


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), Cluster(workers=3))
