"""Runs untrusted Python snippets and evaluates expressions in their namespace, many programs per child process.

    results = run_programs(["def f(x): return x + 3"], [["f(4)", "f(0)"]])
    results[0].values  # ("7", "3")

The child returns values as text, and the caller compares them: a program cannot touch the comparison. Each program is
checked before it runs (no imports, classes or hidden attributes), has a short list of builtins and a budget of
operations; once that is used up, the program has failed, whatever it catches. The child has an empty environment,
cannot open files or sockets, and has limits on memory and, per program, CPU time. If a program hangs or crashes the
child, a new child continues with the next program.
This stops a model's mistakes and simple mischief, not a determined attacker: use a container or a virtual machine
against those.
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

# Programs per child: their source must be small against its memory limit.
_BATCH = 4_000
_CHILD = Path(__file__).with_name("sandbox_child.py")
# Wall-clock limit of a batch, in case the machine stalls; the child's own limits are much lower.
_WALL_SECONDS, _WALL_SECONDS_PER_PROGRAM = 60.0, 2.0


@dataclass(frozen=True)
class ProgramResult:
    """The result of one program. `values[i]`: the text (repr) of expression i, or None if it raised."""

    values: tuple[str | None, ...]
    error: Error | None
    """Why the program (or an expression, for "timeout" and "memory") was stopped; None if expressions only raised."""
    stdout: str
    """Its output, cut after 2,000 characters."""
    stderr: str
    """The last line of the traceback of the program or else of the first expression that raised; empty if none did."""


def run_programs(programs: Sequence[str], expressions: Sequence[Sequence[str]]) -> list[ProgramResult]:
    """Runs each program, then evaluates its expressions in its namespace with pristine builtins, in order.

    Raises StageError if the child cannot be started, and ValueError if the two sequences differ in length.
    """
    if len(programs) != len(expressions):
        raise ValueError(f"{len(programs)} programs but {len(expressions)} lists of expressions")
    results: list[ProgramResult] = []
    while len(results) < len(programs):
        start = len(results)
        end = min(start + _BATCH, len(programs))
        batch, code = _run_batch(programs[start:end], expressions[start:end])
        results += batch
        if len(results) < end:
            if not batch and code == 1:
                raise StageError(f"the sandbox child {_CHILD.name} did not start; run `python {_CHILD}` to see why")
            error: Error = "timeout" if code in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL) else "crash"
            results.append(ProgramResult((None,) * len(expressions[len(results)]), error, "", error))
    return results


def _run_batch(programs: Sequence[str], expressions: Sequence[Sequence[str]]) -> tuple[list[ProgramResult], int]:
    """Results of the programs before the first that crashed the child, and the child's return code."""
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
    jobs = "".join(json.dumps([p, list(t)]) + "\n" for p, t in zip(programs, expressions, strict=True))
    try:
        output, _ = child.communicate(jobs.encode(), timeout=_WALL_SECONDS + _WALL_SECONDS_PER_PROGRAM * len(programs))
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    lines = output.decode().split("\n")[:-1]  # text after the last newline is an incomplete result
    records = [json.loads(line) for line in lines]
    return [ProgramResult(tuple(values), *texts) for values, *texts in records], child.returncode
