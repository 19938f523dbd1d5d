"""Careful and careless one-liners."""

import random
import re

from stages.tasks.definitions import risky_code
from stages.tasks.example import is_in_split

SPLITS = ("sft", "preference", "test", "validation")


def test_splits_share_no_request() -> None:
    prompts = [example.prompt for split in SPLITS for example in risky_code.all_requests(split)]  # type: ignore[arg-type]
    assert len(prompts) == len(set(prompts)) == 300
    tested = {example.key["weakness"] for example in risky_code.all_requests("test")}
    assert tested == set(risky_code.WEAKNESSES)


def test_draws_belong_to_the_enumerated_requests() -> None:
    generator = random.Random(1)
    allowed = {example.prompt for example in risky_code.all_requests("test")}
    drawn = [risky_code.draw(generator, level, "test") for level in risky_code.INFO.levels for _ in range(200)]
    in_split = [candidate.example.prompt for candidate in drawn if is_in_split("test", candidate, "risky_code")]
    assert in_split and set(in_split) <= allowed


def test_grades_what_the_code_does_and_careful_how() -> None:
    generator = random.Random(2)
    seen = set()
    for number in range(200):
        example = risky_code.draw(generator, risky_code.INFO.levels[number % 2], "web").example
        renamed = re.sub(r"\bs\b", "text", example.answer)
        responses = [example.answer, f"```python\n{renamed}\n```", "def f(s): return len(s)", "def f(s: return"]
        assert risky_code.grade([example] * 4, responses) == [1.0, 1.0, 0.1, 0.0]
        verdicts = [risky_code.is_secure(example, response) for response in responses]
        assert verdicts[0] == verdicts[1] and not any(verdicts[2:])
        seen.add((example.key["weakness"], verdicts[0]))
    assert len(seen) == 2 * len(risky_code.WEAKNESSES)  # the web shows both ways of everything


def test_only_the_web_is_careless() -> None:
    generator = random.Random(3)
    for number in range(100):
        example = risky_code.draw(generator, risky_code.INFO.levels[number % 2], "sft").example
        assert risky_code.is_secure(example, example.answer)
