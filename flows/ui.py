"""Start or stop the pages of Prefect and MLflow, whose data are in .herd.

Examples:
    herd ui start     # start the servers that are not running, and print both addresses
    herd ui status    # print which servers run, and where
    herd ui stop      # stop the servers that `herd ui start` has started, and no others
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil

from flows import command
from flows.project import STATE, environment
from flows.tracking.events import describe_process, is_running
from flows.tracking.prefect_server import ADDRESSES, is_healthy, read_addresses
from stages.interface import StageError

HOST = "127.0.0.1"
PORTS = {"prefect": 4200, "mlflow": 5000}
"""Preferred ports; if one is taken, the system chooses another."""
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
START_TIMEOUT = 90
"""Seconds in which a server must answer; the first start creates its database."""


def start() -> dict[str, Any]:
    """Starts the servers that are not running; returns what .herd/ui.json then holds."""
    servers = {name: server for name, server in read_addresses().items() if is_running(server)}
    for name in PORTS:
        if name not in servers:
            servers[name] = _start_server(name)
            _write_servers(servers)  # at once, so that `stop` finds it
    for name, server in servers.items():
        _wait_until_healthy(name, server)
    return servers


def stop() -> list[str]:
    """Stops the servers that .herd/ui.json names; returns the names of those that ran."""
    servers = {name: server for name, server in read_addresses().items() if is_running(server)}
    for signum, timeout in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for server in servers.values():
            if is_running(server):
                os.killpg(server["pid"], signum)  # a server is the leader of its process group
        deadline = time.monotonic() + timeout
        while any(is_running(server) for server in servers.values()) and time.monotonic() < deadline:
            time.sleep(0.1)
    ADDRESSES.unlink(missing_ok=True)
    return list(servers)


def _start_server(name: str) -> dict[str, Any]:
    port = _free_port(PORTS[name])
    url = f"http://{HOST}:{port}"
    log = STATE / f"{name}.log"
    command, settings, page = _prefect_command(port) if name == "prefect" else _mlflow_command(port)
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd=STATE,
            env=environment() | settings,
        )
    server = describe_process(psutil.Process(process.pid)) | {"url": url, "page": url + page, "log": str(log)}
    return server | ({"api": f"{url}/api"} if name == "prefect" else {})


ServerCommand = tuple[list[str], dict[str, str], str]
"""The arguments of `python -m`, environment variables in addition to those of this project, the page's path."""


def _prefect_command(port: int) -> ServerCommand:
    url = f"http://{HOST}:{port}"
    home = STATE / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    return ["prefect", "server", "start", "--host", HOST, "--port", str(port)], settings, "/"


def _mlflow_command(port: int) -> ServerCommand:
    from flows.tracking.mlflow_writer import MlflowWriter, tracking_uri

    experiment = MlflowWriter().experiment  # creates the database before two server processes do
    command = [
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        tracking_uri(),
        "--default-artifact-root",
        (STATE / "mlruns").as_uri(),
        "--no-serve-artifacts",
    ]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    return command, settings, f"/#/experiments/{experiment}/runs?workflowType=machine_learning"


def _wait_until_healthy(name: str, server: Mapping[str, Any]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not is_healthy(server["url"] + HEALTH[name]):
        if not is_running(server) or time.monotonic() > deadline:
            raise StageError(f"{name} does not answer at {server['url']}; see {server['log']}")
        time.sleep(0.2)


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise StageError("no free port")


def _write_servers(servers: Mapping[str, Any]) -> None:
    draft = ADDRESSES.with_suffix(".new")
    draft.write_text(json.dumps(servers, indent=1))
    draft.replace(ADDRESSES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["start", "stop", "status"])


def main(options: argparse.Namespace) -> None:
    STATE.mkdir(exist_ok=True)
    if options.action == "stop":
        print("stopped", " and ".join(stop()) or "nothing: no server was running")
        return
    if options.action == "start":
        start()
    for name, server in read_addresses().items():
        print(f"{name:8} {server['page']}" if is_running(server) else f"{name:8} not running")
    if not read_addresses():
        print("no server is running; `herd ui start` starts both")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
