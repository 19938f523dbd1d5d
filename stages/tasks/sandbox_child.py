"""The child process of sandbox.py: one JSON job [program, tests] per line in, one [passed, error, stdout, stderr] out.

Run by path with the standard library only. A program's budget counts bytecode operations, so the result does not depend
on the machine's speed. The kernel's timer kills what never returns to bytecode (a huge power).
"""

import ast
import builtins
import json
import os
import resource
import signal
import sys
import unicodedata  # noqa: F401  the parser needs it for non-ASCII names, after opening files is forbidden
import warnings
from types import CodeType, FrameType
from typing import Any

MEMORY_BYTES = 128 * 2**20
OPERATIONS = 100_000
CPU_SECONDS = 1.5
OUTPUT_CHARACTERS = 2_000
RECURSION = 200

_ALLOWED = """
    abs all any bin bool chr dict divmod enumerate filter float frozenset hex int isinstance len list map max min oct
    ord pow range repr reversed round set sorted str sum tuple zip Exception ValueError TypeError KeyError IndexError
    ZeroDivisionError StopIteration
"""
ALLOWED = tuple(_ALLOWED.split())
# Attributes that lead from a value to frames, code objects or class internals without an underscore in their name.
HIDDEN_PREFIXES = ("_", "gi_", "cr_", "ag_", "f_", "tb_", "co_", "func_", "im_")
HIDDEN = frozenset({"mro", "format", "format_map", "with_traceback"})
FORBIDDEN_NODES = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Match, ast.AsyncFunctionDef, ast.Await)


class BudgetExceeded(BaseException):
    """The program has used up its operations. Not an Exception, so that `except Exception` does not catch it."""


class CapturedOutput:
    """Replaces print."""

    def __init__(self) -> None:
        self.text = ""

    def print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        remaining = OUTPUT_CHARACTERS - len(self.text)
        if remaining > 0:
            self.text += (sep.join(map(str, values)) + end)[:remaining]


class OperationBudget:
    """Counts the bytecode operations of a program and its tests in the trace hook; raises BudgetExceeded."""

    def __init__(self) -> None:
        self.remaining = OPERATIONS

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self.remaining -= 1
        if self.remaining < 0:
            raise BudgetExceeded(f"more than {OPERATIONS:,} operations")
        return self.trace


def find_forbidden(tree: ast.AST) -> str | None:
    """The first forbidden construct in the program, or None."""
    for node in ast.walk(tree):
        if isinstance(node, FORBIDDEN_NODES):
            return type(node).__name__
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            if node.attr in HIDDEN or node.attr.startswith(HIDDEN_PREFIXES):
                return f"attribute {node.attr}"
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.FunctionDef):
            names = [node.name]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names = [node.name]
        for name in names:
            if name.startswith("__"):
                return f"name {name}"
    return None


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def run(program: str, tests: list[str]) -> tuple[list[bool], str | None, str, str]:
    failed = [False] * len(tests)
    try:
        tree = ast.parse(program)
        forbidden = find_forbidden(tree)
        if forbidden:
            return failed, "forbidden", "", f"forbidden: {forbidden}"
        code = compile(tree, "<program>", "exec")
    except MemoryError:
        return failed, "memory", "", "MemoryError"
    except (SyntaxError, ValueError, RecursionError, OverflowError) as error:
        return failed, "syntax", "", describe(error)

    output, budget = CapturedOutput(), OperationBudget()
    allowed: dict[str, Any] = {name: getattr(builtins, name) for name in ALLOWED} | {"print": output.print}
    names: dict[str, Any] = {"__builtins__": allowed, "__name__": "program"}
    _, failure, text = run_limited(code, names, budget, evaluate=False)
    if failure:
        return failed, failure, output.text, text
    passed, first = [], ""
    for test in tests:
        # The program may have rebound a builtin that the test uses.
        value, failure, text = run_limited(compile(test, "<test>", "eval"), {**names, **allowed}, budget, evaluate=True)
        if failure in ("timeout", "memory"):
            return failed, failure, output.text, text
        passed.append(value is True)
        first = first or text
    return passed, None, output.text, first


def run_limited(
    code: CodeType, names: dict[str, Any], budget: OperationBudget, evaluate: bool
) -> tuple[Any, str | None, str]:
    """exec or eval within the budget: the value, the kind of failure, and its text."""
    try:
        sys.settrace(budget.trace)
        try:
            if evaluate:
                return eval(code, names), None, ""
            exec(code, names)
        finally:
            sys.settrace(None)
    except BudgetExceeded as error:
        return None, "timeout", describe(error)
    except MemoryError:
        return None, "memory", "MemoryError"
    except BaseException as error:
        return None, "exception", describe(error)
    return None, None, ""


def main() -> None:
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(RECURSION)
    jobs = sys.stdin.buffer.readlines()
    seconds = int(CPU_SECONDS * (len(jobs) + 2)) + 10
    for kind, limit in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    for line in jobs:
        # The default action of SIGPROF ends the process, which no program can catch.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        program, tests = json.loads(line)
        answer = json.dumps(run(program, tests)) + "\n"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        os.write(1, answer.encode())


if __name__ == "__main__":
    main()
