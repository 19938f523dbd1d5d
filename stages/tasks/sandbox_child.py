"""The child process of sandbox.py: one job [program, expressions] per line in, [values, error, stdout, stderr] out.

Run by path with the standard library only. A program's budget counts bytecode operations and the size of large results,
so the verdict does not depend on the machine's speed. A program that has used it up has failed, whatever it catches
and returns. The kernel's timer kills what runs on all the same.
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
# The budget takes some 0.03 s of processor time; the kernel's limit is a backstop far above that.
CPU_SECONDS = 5.0
# What a program gets after it has used up its budget, to end by the exception.
GRACE_SECONDS = 0.1
OUTPUT_CHARACTERS = 2_000
VALUE_CHARACTERS = 2_000
RECURSION = 200
SOURCES = PROGRAM, EXPRESSION = "<program>", "<expression>"

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
    """Counts the operations of a program and its expressions; raises BudgetExceeded.

    The trace hook counts bytecode operations. `power`, `multiply`, `shift` and `range`, which `Metered` puts in place
    of the operators, add the size of results that one operation can make huge.
    """

    def __init__(self) -> None:
        self.remaining = OPERATIONS

    @property
    def is_exceeded(self) -> bool:
        return self.remaining < 0

    def charge(self, operations: int) -> None:
        self.remaining -= operations
        if self.is_exceeded:
            # The interpreter stops tracing when the hook raises: the kernel ends a program that catches this.
            signal.setitimer(signal.ITIMER_PROF, GRACE_SECONDS)
            raise BudgetExceeded(f"more than {OPERATIONS:,} operations")

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in SOURCES:
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self.charge(1)
        return self.trace

    def power(self, base: Any, exponent: Any, *modulus: Any) -> Any:
        if isinstance(base, int) and isinstance(exponent, int) and not modulus and abs(base) > 1:
            self.charge(base.bit_length() * max(exponent, 0) // 32)
        return pow(base, exponent, *modulus)

    def multiplier(self, left: Any, right: Any) -> Any:
        """`right`, after the charge for left * right."""
        if isinstance(left, int) and isinstance(right, int):
            self.charge(left.bit_length() // 64 * (right.bit_length() // 64) // 1_000)
        for number, sequence in ((left, right), (right, left)):
            if isinstance(number, int) and isinstance(sequence, str | list | tuple):
                size = len(sequence) * max(number, 0)
                if size > MEMORY_BYTES:
                    raise MemoryError
                self.charge(size // 10_000)
        return right

    def multiply(self, left: Any, right: Any) -> Any:
        return left * self.multiplier(left, right)

    def shift(self, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            if right > 8 * MEMORY_BYTES:
                raise MemoryError
            self.charge(max(right, 0) // 10_000)
        return left << right

    def range(self, *arguments: Any) -> range:
        numbers = range(*arguments)
        try:
            self.charge(len(numbers) // 100)
        except OverflowError:  # more than 2**63
            self.charge(OPERATIONS + 1)
        return numbers


METERED_OPERATORS: dict[type[ast.operator], str] = {ast.Pow: "__power", ast.Mult: "__multiply", ast.LShift: "__shift"}


class Metered(ast.NodeTransformer):
    """Replaces operators whose results can be huge by calls of the budget's methods."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = METERED_OPERATORS.get(type(node.op))
        return ast.Call(ast.Name(name, ast.Load()), [node.left, node.right], []) if name else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        target = ast.Name(node.target.id, ast.Load())
        if isinstance(node.op, ast.Mult):  # a list is extended in place
            node.value = ast.Call(ast.Name("__multiplier", ast.Load()), [target, node.value], [])
            return node
        name = METERED_OPERATORS.get(type(node.op))
        if name is None:
            return node
        return ast.Assign([node.target], ast.Call(ast.Name(name, ast.Load()), [target, node.value], []))


def compile_metered(tree: ast.Module | ast.Expression, source: str) -> CodeType:
    mode = "exec" if isinstance(tree, ast.Module) else "eval"
    code: CodeType = compile(ast.fix_missing_locations(Metered().visit(tree)), source, mode)
    return code


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


def run(program: str, expressions: list[str]) -> tuple[list[str | None], str | None, str, str]:
    """Runs the program, then evaluates each expression: the text (repr) of the values, None where one raised."""
    failed: list[str | None] = [None] * len(expressions)
    try:
        tree = ast.parse(program)
        forbidden = find_forbidden(tree)
        if forbidden:
            return failed, "forbidden", "", f"forbidden: {forbidden}"
        code = compile_metered(tree, PROGRAM)
    except MemoryError:
        return failed, "memory", "", "MemoryError"
    except (SyntaxError, ValueError, RecursionError, OverflowError) as error:
        return failed, "syntax", "", describe(error)

    output, budget = CapturedOutput(), OperationBudget()
    allowed: dict[str, Any] = {name: getattr(builtins, name) for name in ALLOWED}
    allowed |= {"print": output.print, "range": budget.range, "pow": budget.power, "__power": budget.power}
    allowed |= {"__multiply": budget.multiply, "__multiplier": budget.multiplier, "__shift": budget.shift}
    names: dict[str, Any] = {"__builtins__": allowed, "__name__": "program"}
    _, failure, text = run_limited(code, names, budget)
    if failure:
        return failed, failure, output.text, text
    values, first = [], ""
    for expression in expressions:
        # The program may have rebound a builtin that the expression uses.
        code = compile_metered(ast.parse(expression, mode="eval"), EXPRESSION)
        value, failure, text = run_limited(code, {**names, **allowed}, budget)
        if failure in ("timeout", "memory"):
            return failed, failure, output.text, text
        values.append(value)
        first = first or text
    return values, None, output.text, first


def run_limited(code: CodeType, names: dict[str, Any], budget: OperationBudget) -> tuple[str | None, str | None, str]:
    """Evaluates within the budget: the text of the value, the kind of failure, and its text."""
    error: BaseException | None = None
    value: str | None = None
    try:
        sys.settrace(budget.trace)
        try:
            result = eval(code, names)
        finally:
            sys.settrace(None)
        value = repr(result)[:VALUE_CHARACTERS]
    except BaseException as raised:
        error = raised
    # The program may have caught the exception, or raised another in its place.
    if budget.is_exceeded:
        return None, "timeout", f"BudgetExceeded: more than {OPERATIONS:,} operations"
    if isinstance(error, MemoryError):
        return None, "memory", "MemoryError"
    return (value, None, "") if error is None else (None, "exception", describe(error))


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
        program, expressions = json.loads(line)
        answer = json.dumps(run(program, expressions)) + "\n"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        os.write(1, answer.encode())


if __name__ == "__main__":
    main()
