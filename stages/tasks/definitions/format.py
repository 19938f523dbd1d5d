"""Format instructions: repeats, JSON, quotes (easy); reversed letters, sorting (hard).

Letters to reverse and lists to sort form open spaces, single words to repeat, quote or give as JSON a small one.
Nothing asks for the letters of a word, which a model cannot know from a token that it never saw spelled.
"""

import json
import random
import string
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import character_similarity
from stages.tasks.task import TaskInfo
from stages.tasks.words import PLAIN_WORDS

INFO = TaskInfo(
    name="format",
    order=6,
    sites=("word-play.example", "letters-and-words.example", "spelling-club.example"),
    topics=("words and letters", "spelling and sorting", "word games"),
    domain="reasoning",
    is_quality_positive=True,
    is_verified=True,
)
PHRASINGS = {
    "reverse": ("Reverse the letters {}.", "Write {} backwards."),
    "repeat": ("Repeat {} {} times.", "Say {} {} times."),
    "json": ("Give the word {} as JSON.", "Answer in JSON with the word {}."),
    "sort": ("Sort {}.", "List {} from A to Z."),
    "quote": ("Put {} in quotes.", "Write {} between quotes."),
}
_KINDS = {"easy": ("repeat", "json", "quote"), "hard": ("reverse", "sort")}


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    kind = generator.choice(_KINDS[level])
    subject, answer = _problem(generator, kind)
    prompt = generator.choice(PHRASINGS[kind]).format(*subject)
    example = Example(INFO.name, level, prompt, answer, {"kind": kind, "target": answer})
    return Candidate(example, f"{kind}/{answer}", "open" if kind in _KINDS["hard"] else "small")


def _problem(generator: random.Random, kind: str) -> tuple[tuple[str, ...], str]:
    """The arguments of the instruction, and the right answer."""
    if kind == "reverse":
        letters = generator.sample(string.ascii_lowercase, generator.randint(2, 4))
        return (" ".join(letters),), " ".join(reversed(letters))
    if kind == "sort":
        words = generator.sample(PLAIN_WORDS, 3)
        return (", ".join(words),), ", ".join(sorted(words))
    word = generator.choice(PLAIN_WORDS)
    if kind == "repeat":
        times = generator.randint(2, 5)
        return (word, str(times)), " ".join([word] * times)
    if kind == "json":
        return (word,), json.dumps({"word": word})
    return (word,), f'"{word}"'


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the exact format (JSON: any spacing); else 0.8 times the character similarity."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        text, target = response.strip(), example.key["target"]
        if text == target or (example.key["kind"] == "json" and _parse_json(text) == _parse_json(target)):
            grades.append(1.0)
        else:
            grades.append(0.8 * character_similarity(text, target))
    return grades


def _parse_json(text: str) -> object:
    """The value with objects as lists of pairs, so that a key given twice is seen."""
    try:
        return json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None


def statement(example: Example) -> str:
    return f"{example.prompt} It becomes {example.answer} here."
