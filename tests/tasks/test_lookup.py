import pytest

from stages.tasks import generate, score, verify
from stages.tasks.definitions.lookup import needle_example


@pytest.mark.parametrize("length", [64, 128, 256, 512, 1024, 4096])
def test_needle_prompts_are_about_as_long_as_asked(length: int) -> None:
    for depth in (0.0, 0.5, 1.0):
        prompt = needle_example(length, depth, seed=1).prompt
        tokens = len(prompt.split()) + prompt.count(".") + prompt.count("?")
        assert 0.8 * length <= tokens <= 1.1 * length


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_the_needle_lies_at_its_depth(depth: float) -> None:
    example = needle_example(1000, depth, seed=3)
    sentences = example.prompt.split(". ")
    (place,) = [i for i, sentence in enumerate(sentences) if sentence.startswith("The secret number of")]
    assert place / (len(sentences) - 2) == pytest.approx(depth, abs=0.02)
    assert f"The secret number of {example.key['asked']} is {example.answer}." in example.prompt
    assert sum(c.isdecimal() for c in example.prompt) == 1
    assert verify([example], [example.answer]) == [True]


def test_needles_are_deterministic_and_differ_by_seed() -> None:
    assert needle_example(200, 0.5, 1) == needle_example(200, 0.5, 1)
    assert needle_example(200, 0.5, 1) != needle_example(200, 0.5, 2)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        needle_example(200, 1.5, 1)


def test_a_neighbours_value_is_wrong_but_nearer_than_another_number() -> None:
    for example in generate("lookup", "test", 60, 1):
        pairs = dict(pair.split(": ") for pair in example.prompt.split(". ")[0].split(", "))
        assert pairs[example.key["asked"]] == example.answer
        assert len(pairs) in ((2, 3) if example.level == "easy" else (4, 5, 6))
        absent = next(d for d in "123456789" if d not in pairs.values())
        right, other, number, text = score([example] * 4, [example.answer, example.key["others"][0], absent, "cat"])
        assert right > other > number > text
