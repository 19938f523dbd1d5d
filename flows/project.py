"""The project's paths, and the environment variables of all its processes."""

import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("HERD_ROOT", Path(__file__).resolve().parent.parent))


def permanent_root(root: Path) -> Path:
    """`root`, or the project that it is a temporary copy of: `dvc exp run --temp` and queued experiments run in
    <project>/.dvc/tmp/exps/..."""
    for parent in root.parents:
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return root


STATE = permanent_root(ROOT) / ".herd"
"""Ignored by git and DVC: event logs, MLflow's and Prefect's databases, partial training state, downloads."""

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # A lost server must not delay the stages that it shows: short timeout, no retries.
    "PREFECT_CLIENT_MAX_RETRIES": "0",
    "PREFECT_API_REQUEST_TIMEOUT": "3",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    # Waiting threads spin only briefly: with the default, a training step is up to 15 times slower when another process
    # uses the cores; on an idle machine the difference is noise.
    "GOMP_SPINCOUNT": "10000",
    # glibc returns large tensors to the kernel after each step; keeping them saves 7-30% of eager training time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def environment() -> dict[str, str]:
    """The environment of a child process; the user's own variables take precedence."""
    return SETTINGS | dict(os.environ)


def restart_with_environment() -> None:
    """Restarts this process with `environment()`, unless it has it: glibc reads its settings at the start only."""
    if any(name not in os.environ for name in SETTINGS):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment())
