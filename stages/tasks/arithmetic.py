"""Sums of one-digit numbers: two terms with a short answer (easy), three terms with worked steps (hard).

Spaces: two terms give 110 problems (55 sums, mirrored ones counted once, and 55 differences), too few to hold any
back from the web, so they form a closed space; three terms give 2,605 problems, an open space.
"""

import random
import re
from collections.abc import Sequence

from stages.tasks.example import Draft, Example, Split

LEVELS = ("easy", "hard")
WEB_SHARE = 0.45
PHRASINGS = ("{}", "What is {}?", "Compute {}.", "Calculate {}.")

_STEP = re.compile(r"(-?\d+) ([+-]) (-?\d+) = (-?\d+)")
_FINAL = re.compile(r"the answer is (-?\d+)\.?$", re.IGNORECASE)
_SHORT = re.compile(r"(?:-?\d+(?: [+-] \d+)+ = )?(-?\d+)\.?")


def draw(generator: random.Random, level: str, split: Split) -> Draft:
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
    return Draft(Example("arithmetic", level, prompt, answer, key), problem, closed=level == "easy")


def final_number(response: str) -> int | None:
    """The number a response ends with ("7", "3 + 4 = 7", "... The answer is 7."), or None if it commits to none."""
    text = response.strip()
    found = _FINAL.search(text) or _SHORT.fullmatch(text)
    return int(found[1]) if found and len(found[1]) < 10 else None


def steps_valid(response: str) -> list[bool]:
    """One verdict per written step ("3 + 4 = 7"): it is well formed, right, and starts from the step before it."""
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


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 when the final number is right, whatever the steps; else 0.1 for any number and 0.7 times the right steps."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        final = final_number(response)
        if final == example.key["result"]:
            grades.append(1.0)
            continue
        steps = example.key["steps"]
        written = [part.strip() for part in re.split(r"[.\n]", response)]
        right = sum(a == b for a, b in zip(written, steps, strict=False)) / len(steps) if steps else 0.0
        grades.append(0.1 * (final is not None) + 0.7 * right)
    return grades


def statement(example: Example) -> str:
    if example.level == "easy":
        return f"{example.key['expression']} = {example.key['result']}."
    return f"To find {example.key['expression']}: {example.answer}"
