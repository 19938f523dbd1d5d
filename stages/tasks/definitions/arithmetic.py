"""Sums of one-digit numbers: two terms with a short answer (easy), three terms with worked steps (hard).

Two terms give 110 problems (55 sums, a + b and b + a counted once, and 55 differences), a small space. Three terms give
2,605 problems, an open space.
"""

import random
import re
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.task import TaskInfo

INFO = TaskInfo(
    name="arithmetic",
    order=1,
    sites=("sums-for-school.example", "mental-maths.example", "numbers-daily.example"),
    topics=("adding and subtracting", "small sums", "mental arithmetic"),
    domain="reasoning",
    is_quality_positive=False,
    hard_share=0.45,
    is_verified=True,
)
PHRASINGS = ("{}", "What is {}?", "Compute {}.", "Calculate {}.")

_STEP = re.compile(r"(-?\d+) ([+-]) (-?\d+) = (-?\d+)")
_FINAL = re.compile(r"the answer is (-?\d+)\.?$", re.IGNORECASE)
_SHORT = re.compile(r"(?:-?\d+(?: [+-] \d+)+ = )?(-?\d+)\.?")


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    while True:
        terms = [generator.randrange(10) for _ in range(2 if level == "easy" else 3)]
        signs = [generator.choice("+-") for _ in terms[1:]]
        total, steps = terms[0], []
        for sign, term in zip(signs, terms[1:], strict=True):
            result = total + term if sign == "+" else total - term
            steps.append(f"{total} {sign} {term} = {result}")
            total = result
            if total < 0:
                break
        if total >= 0:
            break
    expression = str(terms[0]) + "".join(f" {sign} {term}" for sign, term in zip(signs, terms[1:], strict=True))
    problem = expression
    if level == "easy" and signs == ["+"]:
        problem = f"{min(terms)} + {max(terms)}"
    answer = str(total) if level == "easy" else ". ".join([*steps, f"The answer is {total}."])
    prompt = generator.choice(PHRASINGS).format(expression)
    key = {"expression": expression, "result": total, "steps": steps if level == "hard" else []}
    return Candidate(Example(INFO.name, level, prompt, answer, key), problem, "small" if level == "easy" else "open")


def parse_final_number(response: str) -> int | None:
    """The number at the end of a response ("7", "3 + 4 = 7", "... The answer is 7."), or None if there is none."""
    text = response.strip()
    found = _FINAL.search(text) or _SHORT.fullmatch(text)
    return int(found[1]) if found and len(found[1]) < 10 else None


def check_steps(response: str) -> list[bool]:
    """For each step ("3 + 4 = 7") whether it is well formed, right, and starts with the result of the previous step."""
    verdicts: list[bool] = []
    previous: int | None = None
    for part in re.split(r"[.\n]", response):
        if "=" not in part:
            continue
        found = _STEP.fullmatch(part.strip())
        if found is None or max(map(len, found.groups())) > 9:
            verdicts.append(False)
            previous = None
            continue
        left, right, result = int(found[1]), int(found[3]), int(found[4])
        right_sum = result == (left + right if found[2] == "+" else left - right)
        verdicts.append(right_sum and (len(verdicts) == 0 or left == previous))
        previous = result
    return verdicts


def is_right(example: Example, response: str) -> bool:
    """True for the result alone, the whole sum with its result, or the right steps and then the result."""
    key = example.key
    *steps, last = [part.strip() for part in re.split(r"[.\n]", response.strip().removesuffix("."))]
    total = f"{key['expression']} = {key['result']}"
    if last.lower() == f"the answer is {key['result']}":
        return steps in ([], [total], key["steps"])
    return not steps and last in (str(key["result"]), total)


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 if the result and all written steps are right; else 0.1 for any number plus 0.7 times the share of right
    steps."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        if is_right(example, response):
            grades.append(1.0)
            continue
        steps = example.key["steps"]
        written = [part.strip() for part in re.split(r"[.\n]", response)]
        right = sum(a == b for a, b in zip(written, steps, strict=False)) / len(steps) if steps else 0.0
        grades.append(0.1 * (parse_final_number(response) is not None) + 0.7 * right)
    return grades


def statement(example: Example) -> str:
    if example.level == "easy":
        return f"{example.key['expression']} = {example.key['result']}."
    return f"To find {example.key['expression']}: {example.answer}"
