"""Translations are graded."""

from stages.tasks import generate, score


def test_a_phrase_with_one_right_word_scores_between_wrong_and_right() -> None:
    example = next(e for e in generate("translation", "test", 50, 1) if e.level == "hard")
    first = example.answer.split()[0]
    right, half, wrong = score([example] * 3, [example.answer, f"{first} xyzzy", "xyzzy quux"])
    assert right > half > wrong
    assert score([example], [example.answer.upper() + "."]) == [1.0]
