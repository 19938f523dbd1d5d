"""Translation between English and five languages: single words (easy) and a number with a plural (hard).

Spaces: a word's translation cannot be guessed, so words (20 x 5 languages x 2 directions) are a closed space; phrases
(10 x 28 x 5 x 2) are open: test phrases are new combinations of known words.
"""

import random
from collections.abc import Sequence

from stages.tasks.example import Draft, Example, Split, closeness, plain
from stages.tasks.words import COLOURS, COUNTABLE, LANGUAGES, NUMBERS, WORDS

LEVELS = ("easy", "hard")
WEB_SHARE = 0.4
PHRASINGS = ("Translate {} to {}.", "What is {} in {}?", "How do you say {} in {}?")

_SINGULARS = (*NUMBERS, *COLOURS)
_PLURALS = tuple(COUNTABLE)
_COUNTS = tuple(NUMBERS)[2:]  # "one" and, in Portuguese, "two" agree with the noun's gender


def draw(generator: random.Random, level: str, split: Split) -> Draft:
    language = generator.choice(LANGUAGES)
    index = LANGUAGES.index(language)
    if level == "easy":
        word = generator.choice(_SINGULARS)
        english, foreign = word, WORDS[word][index]
    else:
        count, noun = generator.choice(_COUNTS), generator.choice(_PLURALS)
        plural, plurals = COUNTABLE[noun]
        english, foreign = f"{count} {plural}", f"{NUMBERS[count][index]} {plurals[index]}"
    outward = generator.random() < 0.5
    source, target, to = (english, foreign, language) if outward else (foreign, english, "English")
    prompt = generator.choice(PHRASINGS).format(source, to)
    key = {"source": source, "target": target, "language": language, "to": to}
    # Without the language of the source in the problem: "gato" from Spanish and from Portuguese are the same prompt.
    return Draft(Example("translation", level, prompt, target, key), f"{source}>{to}", closed=level == "easy")


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the exact words whatever their case; else credit for words in their place and for spelling, below 0.9."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        said, target = plain(response), plain(example.key["target"])
        if said == target:
            grades.append(1.0)
            continue
        wanted, given = target.split(), said.split()
        right = sum(a == b for a, b in zip(wanted, given, strict=False)) / max(len(wanted), len(given))
        grades.append(0.5 * right + 0.3 * closeness(said, target))
    return grades


def statement(example: Example) -> str:
    return f"{example.key['source']} in {example.key['to']} is {example.key['target']}."
