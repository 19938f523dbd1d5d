"""Translation between English and three languages: a number with a plural (easy), two of these joined by "and" (hard).

The words occur on the web, in other combinations: easy phrases (10 x 28 x 3 languages x 2 directions) form a small
space, pairs of them an open one.
"""

import random
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import character_similarity, normalize_answer
from stages.tasks.task import TaskInfo
from stages.tasks.words import COUNTABLE, LANGUAGES, NUMBERS

INFO = TaskInfo(
    name="translation",
    order=3,
    sites=("three-languages.example", "word-trainer.example", "travel-phrases.example"),
    topics=("phrases in three languages", "everyday vocabulary", "first phrases"),
    domain="general",
    is_quality_positive=True,
    is_verified=True,
)
PHRASINGS = ("Translate {} to {}.", "What is {} in {}?", "How do you say {} in {}?")

_AND = {"German": "und", "French": "et", "Spanish": "y"}
_PLURALS = tuple(COUNTABLE)
_COUNTS = tuple(NUMBERS)[2:]  # "one" agrees with the noun's gender


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    language = generator.choice(tuple(_AND))
    english, foreign = _draw_phrase(generator, language)
    if level == "hard":
        also_english, also_foreign = _draw_phrase(generator, language)
        english, foreign = f"{english} and {also_english}", f"{foreign} {_AND[language]} {also_foreign}"
    from_english = generator.random() < 0.5
    source, target, to = (english, foreign, language) if from_english else (foreign, english, "English")
    prompt = generator.choice(PHRASINGS).format(source, to)
    key = {"source": source, "target": target, "language": language, "to": to}
    # Both directions are one problem: a model that has read one has the other beside it.
    return Candidate(
        Example(INFO.name, level, prompt, target, key), f"{english}/{language}", "small" if level == "easy" else "open"
    )


def _draw_phrase(generator: random.Random, language: str) -> tuple[str, str]:
    """A number and a plural, in English and in the language."""
    index = LANGUAGES.index(language)
    count, noun = generator.choice(_COUNTS), generator.choice(_PLURALS)
    plural, plurals = COUNTABLE[noun]
    return f"{count} {plural}", f"{NUMBERS[count][index]} {plurals[index]}"


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the exact words in any case; else 0.5 times the share of right words plus 0.3 times the similarity."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        text, target = normalize_answer(response), normalize_answer(example.key["target"])
        if text == target:
            grades.append(1.0)
            continue
        expected, words = target.split(), text.split()
        right = sum(a == b for a, b in zip(expected, words, strict=False)) / max(len(expected), len(words))
        grades.append(0.5 * right + 0.3 * character_similarity(text, target))
    return grades


def statement(example: Example) -> str:
    return f"{example.key['source']} in {example.key['to']} is {example.key['target']}."
