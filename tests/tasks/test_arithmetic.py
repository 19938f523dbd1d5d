import pytest

from stages.tasks import generate, score, verify
from stages.tasks.definitions.arithmetic import check_steps, parse_final_number
from stages.tasks.example import Example

SUM = Example(
    "arithmetic",
    "hard",
    "3 + 4 - 2",
    "3 + 4 = 7. 7 - 2 = 5. The answer is 5.",
    {"expression": "3 + 4 - 2", "result": 5, "steps": ["3 + 4 = 7", "7 - 2 = 5"]},
)


@pytest.mark.parametrize(
    ("response", "verdicts"),
    [
        ("3 + 4 = 7. 7 - 2 = 5. The answer is 5.", [True, True]),
        ("3 + 4 = 8. 8 - 2 = 6. The answer is 6.", [False, True]),
        ("3 + 4 = 7. 9 - 2 = 7. The answer is 7.", [True, False]),
        ("3 + = 7. 7 - 2 = 5.", [False, False]),
        ("5", []),
    ],
)
def test_each_step_is_judged_by_its_sum_and_by_the_step_before(response: str, verdicts: list[bool]) -> None:
    assert check_steps(response) == verdicts


@pytest.mark.parametrize(
    ("response", "number"),
    [("7", 7), ("7.", 7), ("3 + 4 = 7", 7), ("3 + 4 = 7. The answer is 7.", 7), ("7 8", None), ("", None), ("-3", -3)],
)
def test_final_number(response: str, number: int | None) -> None:
    assert parse_final_number(response) == number


def test_right_steps_with_a_wrong_end_beat_wrong_steps_which_beat_nothing() -> None:
    responses = [
        SUM.answer,
        "3 + 4 = 7. 7 - 2 = 5. The answer is 6.",
        "3 + 4 = 7. 7 - 2 = 4. The answer is 4.",
        "3 + 4 = 6. 6 - 2 = 4. The answer is 4.",
        "no idea",
    ]
    grades = score([SUM] * 5, responses)
    assert grades[0] == 1.0
    assert grades == sorted(grades, reverse=True)
    assert len(set(grades)) == 5


def test_the_references_are_right_sums_of_one_digit_numbers() -> None:
    for example in generate("arithmetic", "web", 400, 1):
        assert eval(example.key["expression"]) == example.key["result"] >= 0
        assert all(len(term) == 1 for term in example.key["expression"].split())
        if example.level == "hard":
            assert check_steps(example.answer) == [True, True]


def test_a_right_outcome_does_not_make_up_for_a_wrong_step() -> None:
    lucky = "3 + 4 = 8. 7 - 2 = 5. The answer is 5."
    assert verify([SUM] * 3, [lucky, "5", "The answer is 5."]) == [False, True, True]
    assert not all(check_steps(lucky))
