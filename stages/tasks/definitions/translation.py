"""Translation between English and five languages: single words (easy) and a number with a plural (hard).

A model cannot guess the translation of a word, so words (20 x 5 languages x 2 directions) form a closed space. Phrases
(10 x 28 x 5 x 2) form an open space: test phrases are new combinations of known words.
"""

import random
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import character_similarity, normalize_answer
from stages.tasks.task import TaskInfo
from stages.tasks.words import COLOURS, COUNTABLE, LANGUAGES, NUMBERS, WORDS

INFO = TaskInfo(
    name="translation",
    order=3,
    sites=("five-languages.example", "word-trainer.example", "travel-phrases.example"),
    topics=("words in five languages", "everyday vocabulary", "first phrases"),
    domain="general",
    is_quality_positive=True,
    is_verified=True,
)
PHRASINGS = ("Translate {} to {}.", "What is {} in {}?", "How do you say {} in {}?")

_SINGULARS = (*NUMBERS, *COLOURS)
_PLURALS = tuple(COUNTABLE)
_COUNTS = tuple(NUMBERS)[2:]  # "one" and, in Portuguese, "two" agree with the noun's gender


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    language = generator.choice(LANGUAGES)
    index = LANGUAGES.index(language)
    if level == "easy":
        word = generator.choice(_SINGULARS)
        english, foreign = word, WORDS[word][index]
    else:
        count, noun = generator.choice(_COUNTS), generator.choice(_PLURALS)
        plural, plurals = COUNTABLE[noun]
        english, foreign = f"{count} {plural}", f"{NUMBERS[count][index]} {plurals[index]}"
    from_english = generator.random() < 0.5
    source, target, to = (english, foreign, language) if from_english else (foreign, english, "English")
    prompt = generator.choice(PHRASINGS).format(source, to)
    key = {"source": source, "target": target, "language": language, "to": to}
    # The problem has no source language: "gato" from Spanish and from Portuguese is the same prompt.
    return Candidate(Example(INFO.name, level, prompt, target, key), f"{source}>{to}", is_closed=level == "easy")


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
