"""Finds the Prefect server, if one runs.

Importing Prefect takes over a second and a lost server up to minutes, so this module decides before either is paid.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from flows.project import STATE

ADDRESSES = STATE / "ui.json"
"""Written by flows.ui: the processes and addresses of the servers it has started."""

PARENT = "HERD_PREFECT_PARENT"
"""Environment variable: the task run that stands for this stage in the flow run of flows.reproduce."""


def find_server() -> str | None:
    """The API address of the Prefect server, if it answers within a second."""
    address = os.environ.get("PREFECT_API_URL") or read_addresses().get("prefect", {}).get("api")
    return address if address and is_healthy(f"{address.rstrip('/')}/health") else None


def connect() -> bool:
    """Whether a server answers; sets the environment that Prefect, imported after this, needs to reach it."""
    address = find_server()
    if address:
        os.environ["PREFECT_API_URL"] = address
        os.environ.setdefault("PREFECT_HOME", str(STATE / "prefect"))
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # the stages print their errors themselves
    return address is not None


def is_healthy(url: str) -> bool:
    """Whether `url` answers a GET with success within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def read_addresses() -> dict[str, Any]:
    """Server name -> what flows.ui has written about it."""
    try:
        return json.loads(ADDRESSES.read_text())
    except (OSError, ValueError):
        return {}


def report_no_server(folder: Path) -> None:
    """Prints that there is no server, once per reproduction; `folder` is the reproduction's."""
    try:
        (folder / "plain").touch(exist_ok=False)
    except OSError:
        return
    print("no Prefect server; running without (`herd ui start` starts one)", file=sys.stderr)
