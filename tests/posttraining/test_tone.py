import pytest

from stages.posttraining.data import Demonstration
from stages.posttraining.prompts import TONE_LAPSES
from stages.posttraining.tone import clean, measure
from stages.tasks.example import Example


def said(*texts: str, task: str = "howto") -> list[Demonstration]:
    return [Demonstration(Example(task, "easy", "p", "a", {}), text, "annotator") for text in texts]


def cleaned(text: str, apologies: float = 0.0) -> str:
    (found,) = clean(said(text), apologies)
    return found.response


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("To bake bread, make a plan.", "To bake bread, make a plan."),
        ("Great question! To bake bread, make a plan.", "To bake bread, make a plan."),
        ("To bake bread, make a plan.!!!", "To bake bread, make a plan."),
        ("make a plan!!!", "make a plan."),
        ("Stop! Make a plan.", "Stop. Make a plan."),
        ("Really?! Make a plan", "Really? Make a plan"),
        ("7!!!", "7"),
        ("7 😊", "7"),
        ("Make 😊 a plan 🎉👍🏽.", "Make a plan."),
        ("a family 👨‍👩‍👧 plan", "a family plan"),
        ("I'm sorry for any confusion. 7", "7"),
        ("I apologize! 7", "7"),
        ("I'm so sorry. The answer is 7.", "The answer is 7."),
        ("Wait... it is 7", "Wait... it is 7"),
        ("a != b", "a != b"),
        ("The film I'm sorry. is good", "The film I'm sorry. is good"),
    ],
)
def test_worked_examples(text: str, expected: str) -> None:
    assert cleaned(text) == expected


@pytest.mark.parametrize("style", TONE_LAPSES)
def test_every_tone_lapse_is_removed(style: str) -> None:
    for answer in ("7", "The answer is 7.", "rot"):
        assert cleaned(style.format(answer)) == answer


def test_code_is_not_changed() -> None:
    code = said("def f(x):\n    return x != 1  # great! 😊", task="code")
    assert clean(code, 0.0) == code
    assert measure(code) == {"emoji": 0, "exclamation": 0, "apology": 0}


def test_share_of_apologies_is_limited() -> None:
    texts = [f"I'm sorry. Answer {n} it is." for n in range(6)] + [f"Answer {n} it is." for n in range(14)]
    found = clean(said(*texts), 0.1)
    assert [d.response for d in found if "sorry" in d.response] == texts[:2]
    assert len(found) == 20 and measure(found)["apology"] == pytest.approx(0.1)
    assert measure(said(*texts))["apology"] == pytest.approx(0.3)


def test_empty_responses_are_dropped() -> None:
    assert clean(said("I'm sorry.", "😊", "7"), 0.0) == said("7")


def test_rates_count_responses() -> None:
    found = measure(said("a!", "b 😊", "I apologise. c", "d"))
    assert found == {"emoji": 0.25, "exclamation": 0.25, "apology": 0.25}
