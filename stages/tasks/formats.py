"""Instructions about the form of an answer: capitals, repeats, JSON, spelling (easy); reversed letters, sorting (hard).

Spaces: letters to reverse and lists to sort are open; single words (capitals, repeats, JSON, spelling) are closed, as
the letters of a word cannot be known from a token never seen spelled.
"""

import json
import random
import string
from collections.abc import Sequence

from stages.tasks.example import Draft, Example, Split, closeness
from stages.tasks.words import PLAIN_WORDS

LEVELS = ("easy", "hard")
WEB_SHARE = 0.4
PHRASINGS = {
    "reverse": ("Reverse the letters {}.", "Write {} backwards."),
    "capitals": ("Write {} in capital letters.", "Put {} in capitals."),
    "repeat": ("Repeat {} {} times.", "Say {} {} times."),
    "json": ("Give the word {} as JSON.", "Answer in JSON with the word {}."),
    "sort": ("Sort {}.", "List {} from A to Z."),
    "spell": ("Spell {} with dashes.", "Write {} with dashes."),
}
_KINDS = {"easy": ("capitals", "repeat", "json", "spell"), "hard": ("reverse", "sort")}


def draw(generator: random.Random, level: str, split: Split) -> Draft:
    kind = generator.choice(_KINDS[level])
    subject, answer = _problem(generator, kind)
    prompt = generator.choice(PHRASINGS[kind]).format(*subject)
    closed = kind not in ("reverse", "sort")
    return Draft(Example("format", level, prompt, answer, {"kind": kind, "target": answer}), f"{kind}/{answer}", closed)


def _problem(generator: random.Random, kind: str) -> tuple[tuple[str, ...], str]:
    """What the instruction is about, and the right answer."""
    if kind == "reverse":
        letters = generator.sample(string.ascii_lowercase, generator.randint(2, 4))
        return (" ".join(letters),), " ".join(reversed(letters))
    if kind == "sort":
        words = generator.sample(PLAIN_WORDS, 3)
        return (", ".join(words),), ", ".join(sorted(words))
    word = generator.choice(PLAIN_WORDS)
    if kind == "capitals":
        return (word,), word.upper()
    if kind == "repeat":
        times = generator.randint(2, 5)
        return (word, str(times)), " ".join([word] * times)
    if kind == "json":
        return (word,), json.dumps({"word": word})
    return (word,), "-".join(word)


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the exact form (JSON: any spacing); else up to 0.8 by similarity of the characters."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        said, target = response.strip(), example.key["target"]
        if said == target or (example.key["kind"] == "json" and _parsed(said) == json.loads(target)):
            grades.append(1.0)
        else:
            grades.append(0.8 * closeness(said, target))
    return grades


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def statement(example: Example) -> str:
    return f"{example.prompt} It becomes {example.answer} here."
