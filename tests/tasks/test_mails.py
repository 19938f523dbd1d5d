"""Friendly e-mails."""

import random

from stages.tasks.definitions import mails
from stages.tasks.refusal import REFUSALS


def test_every_answer_is_right_and_loses_credit_for_what_it_leaves_out() -> None:
    generator = random.Random(1)
    for number in range(200):
        example = mails.draw(generator, mails.INFO.levels[number % 2], "web").example
        interest, name = example.key["interest"], example.key["name"]
        assert mails.grade([example], [example.answer]) == [1.0]
        wrong = [
            example.answer.replace(interest, "tea"),
            example.answer.replace(name, "Zoe"),
            example.prompt,
            REFUSALS[0],
        ]
        assert all(credit < 1.0 for credit in mails.grade([example] * 4, wrong))


def test_letter_starts_at_the_greeting() -> None:
    assert mails.extract_letter("Sure. Hello Anna, come.", "Anna") == "Hello Anna, come."
    assert mails.extract_letter("To write to Anna, be kind.", "Anna") is None
