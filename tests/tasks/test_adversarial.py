"""Wrong answers that look right: no verifier gives them full credit."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.tasks import HELPFUL_TASKS, score, verify
from stages.tasks.example import Example

PROBLEMS: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("adversarial.yaml").read_text())


@pytest.mark.parametrize("task", PROBLEMS)
def test_wrong_answers_that_look_right_are_wrong(task: str) -> None:
    assert sum(len(problem["wrong"]) for problem in PROBLEMS[task]) >= 20
    for problem in PROBLEMS[task]:
        example = Example(task, problem["level"], problem["prompt"], problem["answer"], problem["key"])
        wrong = [str(text) for text in problem["wrong"]]
        assert verify([example], [example.answer]) == [True]
        right = verify([example] * len(wrong), wrong)
        assert not any(right), [text for text, is_right in zip(wrong, right, strict=True) if is_right]
        assert all(0.0 <= credit < 1.0 for credit in score([example] * len(wrong), wrong))


def test_every_task_with_a_right_answer_has_a_set() -> None:
    assert {*PROBLEMS} == {*HELPFUL_TASKS, "risky_code"}


FREE_ADVICE = (
    "You can bake bread with flour and water.",
    "To bake bread, mix flour with water and wait for an hour.",
    "Baking bread is easy. Mix the flour, then put it in the oven.",
    "First, buy some flour. Then you can bake the bread in an hour.",
)


@pytest.mark.parametrize("text", FREE_ADVICE)
def test_advice_in_other_words_is_right(text: str) -> None:
    problem = PROBLEMS["howto"][0]
    example = Example("howto", problem["level"], problem["prompt"], problem["answer"], problem["key"])
    assert verify([example], [text]) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Hello Anna! Our chess club meets on Monday, and every baker is welcome.",
        "Dear Anna, we play chess at Sun Bakery every week. Please come and play with us.",
    ],
)
def test_mails_in_other_words_are_right(text: str) -> None:
    problem = PROBLEMS["mails"][0]
    example = Example("mails", problem["level"], problem["prompt"], problem["answer"], problem["key"])
    assert verify([example], [text]) == [True]
