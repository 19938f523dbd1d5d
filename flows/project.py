"""Where things lie, and the settings every process of a reproduction shares."""

import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("HERD_ROOT", Path(__file__).resolve().parent.parent))


def home(root: Path) -> Path:
    """The project `root` belongs to: itself, or, for the throw-away copy that `dvc exp run --temp` and queued
    experiments work in (<project>/.dvc/tmp/exps/...), the project it is a copy of."""
    for parent in root.parents:
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return root


STATE = home(ROOT) / ".herd"
"""Ignored by git and DVC: event logs, MLflow's and Prefect's databases, partial training state, downloads."""

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # A server that dies must not cost the work it was only watching: no waiting, no second try.
    "PREFECT_CLIENT_MAX_RETRIES": "0",
    "PREFECT_API_REQUEST_TIMEOUT": "3",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    # Threads that wait spin for a moment, not for as long as another process holds their core: beside other work the
    # default makes a training step up to 15 times slower, and alone on the machine the difference is noise.
    "GOMP_SPINCOUNT": "10000",
    # glibc hands large tensors back to the kernel after each step; keeping them saves 7-30% of eager training time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def environment() -> dict[str, str]:
    """The environment for a child process; what the user has set wins."""
    return SETTINGS | dict(os.environ)


def settle() -> None:
    """Starts this process anew with `environment()`, unless it has it: glibc reads its settings at the start only."""
    if any(name not in os.environ for name in SETTINGS):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment())
