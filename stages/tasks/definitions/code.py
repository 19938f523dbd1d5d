"""One-line Python functions from an instruction: one operation (easy) or two (hard). Verified by running them.

An operation, its constant and the names of its parameters make a problem: single operations form a small space, chains
of two an open one.
"""

import random
import re
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.sandbox import ProgramResult, run_programs
from stages.tasks.task import TaskInfo

INFO = TaskInfo(
    name="code",
    order=2,
    sites=("python-snippets.example", "ask-coders.example", "one-line-functions.example"),
    topics=("short Python functions", "Python one-liners", "functions for beginners"),
    domain="code_in_text",
    is_quality_positive=False,
    is_verified=True,
    is_code=True,
)
PHRASINGS = ("Write a function that {}.", "Write a Python function f that {}.", "Define a function f that {}.")

NUMBERS, PAIRS, STRINGS, LISTS = "{x}", "{a}, {b}", "{s}", "{v}"

NAMES: dict[str, tuple[dict[str, str], ...]] = {
    NUMBERS: tuple({"x": name} for name in ("x", "n", "y", "k", "m", "z")),
    PAIRS: tuple({"a": a, "b": b} for a, b in (("a", "b"), ("x", "y"), ("m", "n"), ("p", "q"), ("u", "w"), ("c", "d"))),
    STRINGS: tuple({"s": name} for name in ("s", "t", "text", "word", "name", "line")),
    LISTS: tuple({"v": name} for name in ("v", "values", "numbers", "items", "row", "data")),
}
"""Names of the parameters."""

# (parameters, instruction, expression); {k} is a constant from 2 to 20.
EASY = (
    (NUMBERS, "adds {k} to {x}", "{x} + {k}"),
    (NUMBERS, "subtracts {k} from {x}", "{x} - {k}"),
    (NUMBERS, "multiplies {x} by {k}", "{x} * {k}"),
    (NUMBERS, "returns the remainder of {x} divided by {k}", "{x} % {k}"),
    (NUMBERS, "checks if {x} is greater than {k}", "{x} > {k}"),
    (STRINGS, "repeats {s} {k} times", "{s} * {k}"),
    (STRINGS, "returns the first {k} characters of {s}", "{s}[:{k}]"),
    (NUMBERS, "doubles {x}", "{x} * 2"),
    (NUMBERS, "squares {x}", "{x} * {x}"),
    (NUMBERS, "negates {x}", "-{x}"),
    (NUMBERS, "checks if {x} is even", "{x} % 2 == 0"),
    (NUMBERS, "returns the absolute value of {x}", "abs({x})"),
    (PAIRS, "returns the larger of {a} and {b}", "max({a}, {b})"),
    (PAIRS, "returns the smaller of {a} and {b}", "min({a}, {b})"),
    (PAIRS, "adds {a} and {b}", "{a} + {b}"),
    (PAIRS, "multiplies {a} and {b}", "{a} * {b}"),
    (STRINGS, "returns the length of {s}", "len({s})"),
    (STRINGS, "returns the first character of {s}", "{s}[0]"),
    (STRINGS, "returns the last character of {s}", "{s}[-1]"),
    (STRINGS, "reverses {s}", "{s}[::-1]"),
    (STRINGS, "makes {s} upper case", "{s}.upper()"),
    (STRINGS, "makes {s} lower case", "{s}.lower()"),
    (LISTS, "returns the sum of {v}", "sum({v})"),
    (LISTS, "returns the largest number in {v}", "max({v})"),
)

# (first instruction, its expression, second instruction, its expression around {}).
FIRST = (
    (NUMBERS, "adds {k} to {x}", "({x} + {k})", "{x} + {k}"),
    (NUMBERS, "subtracts {k} from {x}", "({x} - {k})", "{x} - {k}"),
    (NUMBERS, "multiplies {x} by {k}", "{x} * {k}", "{x} * {k}"),
    (STRINGS, "reverses {s}", "{s}[::-1]", "{s}[::-1]"),
    (STRINGS, "makes {s} upper case", "{s}.upper()", "{s}.upper()"),
    (STRINGS, "takes the first {k} characters of {s}", "{s}[:{k}]", "{s}[:{k}]"),
)
SECOND = {
    NUMBERS: (("adds {k}", "{bare} + {k}"), ("subtracts {k}", "{bare} - {k}"), ("multiplies by {k}", "{closed} * {k}")),
    STRINGS: (("repeats it {k} times", "{bare} * {k}"), ("adds the letter {c}", "{bare} + '{c}'")),
}

INPUTS: dict[str, tuple[str, ...]] = {
    NUMBERS: ("0", "1", "7", "-3", "40"),
    PAIRS: ("2, 9", "8, 3", "-4, 5", "6, 6"),
    STRINGS: ("'Maple'", "'a'", "'window frame'", "'Code and Tests are 1 Thing'"),
    LISTS: ("[3, 1, 2]", "[10]", "[-5, 4, 9, -2]"),
}


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    if level == "easy":
        kind, instruction, expression = generator.choice(EASY)
        constant = str(generator.randrange(2, 21))
        has_constant = "{k}" in expression
        instruction, expression = instruction.replace("{k}", constant), expression.replace("{k}", constant)
    else:
        kind, instruction, grouped, bare = generator.choice(FIRST)
        then, outer = generator.choice(SECOND[kind])
        first, second = str(generator.randrange(2, 10)), str(generator.randrange(2, 10))
        letter = generator.choice("abcdefghijklmnopqrstuvwxyz")
        then = then.replace("{k}", second).replace("{c}", letter)
        instruction = f"{instruction.replace('{k}', first)} and then {then}"
        inner = {"{bare}": bare, "{closed}": grouped}
        expression = outer.replace("{k}", second).replace("{c}", letter)
        for placeholder, text in inner.items():
            expression = expression.replace(placeholder, text.replace("{k}", first))
    names = generator.choice(NAMES[kind])
    parameters, instruction, expression = (text.format(**names) for text in (kind, instruction, expression))
    prompt = generator.choice(PHRASINGS).format(instruction)
    answer = f"def f({parameters}): return {expression}"
    inputs = list(INPUTS[kind])
    if level == "easy" and has_constant and kind == NUMBERS:
        inputs += [constant, str(int(constant) + 1)]  # distinguishes x > 16 from x > 17
    key = {"instruction": instruction, "parameters": parameters, "expression": expression, "inputs": inputs}
    example = Example(INFO.name, level, prompt, answer, key)
    return Candidate(example, instruction, "small" if level == "easy" else "open")


def extract_code(response: str) -> str:
    """The code in a response: the content of a Markdown fence if there is one, else the whole response."""
    fenced = re.search(r"```(?:python)?\n?(.*?)```", response, re.DOTALL)
    return (fenced[1] if fenced else response).strip()


def run_hidden_tests(examples: Sequence[Example], responses: Sequence[str]) -> list[tuple[ProgramResult, list[bool]]]:
    """The result of each response, and whether f gives the value and type of the reference function on each input.

    The reference functions run as programs of their own, so a response cannot change what is expected of it.
    """
    references = list(dict.fromkeys(reference_function(example) for example in examples))
    programs = [f"def f({parameters}): return {expression}" for parameters, expression, _ in references]
    calls = [[f"f({i})" for i in inputs] for _, _, inputs in references]
    answers = [extract_code(response) for response in responses]
    results = run_programs(
        programs + answers, calls + [[f"f({i})" for i in example.key["inputs"]] for example in examples]
    )
    expected = dict(zip(references, results[: len(references)], strict=True))
    graded = []
    for example, result in zip(examples, results[len(references) :], strict=True):
        values = expected[reference_function(example)].values
        graded.append((result, [a is not None and a == b for a, b in zip(result.values, values, strict=True)]))
    return graded


def reference_function(example: Example) -> tuple[str, str, tuple[str, ...]]:
    """Its parameters, its expression, and the inputs to try it on."""
    return example.key["parameters"], example.key["expression"], tuple(example.key["inputs"])


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 if all hidden tests pass; else 0.1 for a program that runs plus 0.7 times the share of passed tests."""
    grades = []
    for result, passed in run_hidden_tests(examples, responses):
        share = sum(passed) / len(passed)
        grades.append(1.0 if all(passed) else 0.1 * (result.error is None) + 0.7 * share)
    return grades


def statement(example: Example) -> str:
    return f"This one {example.key['instruction']}: {example.answer}"
