"""Runs untrusted Python snippets against tests, many per child process.

    outcomes = execute(["def f(x): return x + 3"], [["f(4) == 7", "f(0) == 3"]])

Each program is checked before it runs (no imports, classes or hidden attributes), sees a short list of builtins, and
has an operation budget. The child has an empty environment, may open no file or socket, and limits memory and processor
time. A program that hangs or crashes the child costs only itself: a new child goes on with the next program.
This holds against a model's mistakes and idle mischief; it is not a wall against a determined attacker, who needs a
container or a virtual machine.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.interface import StageError

Error = Literal["syntax", "forbidden", "exception", "memory", "timeout", "crash"]

# Programs per child: its jobs must stay small beside its memory limit.
_BATCH = 4_000
_CHILD = Path(__file__).with_name("sandbox_child.py")
# Wall-clock limit of a batch: a backstop for a machine that stands still; the child's own limits come far sooner.
_WALL_SECONDS, _WALL_SECONDS_PER_PROGRAM = 60.0, 2.0


@dataclass(frozen=True)
class Outcome:
    """What became of one program. `passed[i]` tells whether test i evaluated to True."""

    passed: tuple[bool, ...]
    error: Error | None
    """Why the program (with "timeout" and "memory": or a test) was ended; None if tests merely failed or raised."""
    stdout: str
    """What it printed, cut after 2,000 characters."""
    stderr: str
    """The last line of the traceback of the program or else of the first test that raised; empty if none did."""

    @property
    def solved(self) -> bool:
        return self.error is None and bool(self.passed) and all(self.passed)


def execute(programs: Sequence[str], tests: Sequence[Sequence[str]]) -> list[Outcome]:
    """Run each program, then its tests (expressions that are true when it is right) in its namespace. Order is kept.

    Raises StageError if the child cannot be started, and ValueError if the two sequences differ in length.
    """
    if len(programs) != len(tests):
        raise ValueError(f"{len(programs)} programs but {len(tests)} lists of tests")
    outcomes: list[Outcome] = []
    while len(outcomes) < len(programs):
        start = len(outcomes)
        end = min(start + _BATCH, len(programs))
        done, code = _batch(programs[start:end], tests[start:end])
        outcomes += done
        if len(outcomes) < end:
            if not done and code == 1:
                raise StageError(f"the sandbox child {_CHILD.name} did not start; run `python {_CHILD}` to see why")
            error: Error = "timeout" if code in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL) else "crash"
            outcomes.append(Outcome((False,) * len(tests[len(outcomes)]), error, "", error))
    return outcomes


def _batch(programs: Sequence[str], tests: Sequence[Sequence[str]]) -> tuple[list[Outcome], int]:
    """Outcomes of the leading programs up to the first that took the child down, and the child's return code."""
    # As isolated as -I (which is -E -P -s), but -E would drop PYTHONHASHSEED, and with it the order of sets.
    command = [sys.executable, "-P", "-s", "-S", "-B", str(_CHILD)]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONHASHSEED": "0"},
        cwd="/",
        close_fds=True,
        start_new_session=True,
    )
    jobs = "".join(json.dumps([p, list(t)]) + "\n" for p, t in zip(programs, tests, strict=True))
    try:
        output, _ = child.communicate(jobs.encode(), timeout=_WALL_SECONDS + _WALL_SECONDS_PER_PROGRAM * len(programs))
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    lines = output.decode().split("\n")[:-1]  # what follows the last newline is a result that was cut short
    rows = [json.loads(line) for line in lines]
    return [Outcome(tuple(row[0]), row[1], row[2], row[3]) for row in rows], child.returncode
