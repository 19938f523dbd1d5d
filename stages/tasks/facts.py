"""Capitals and continents of countries: those a web shows often (easy) and those it shows rarely (hard).

On web pages the share of the country of rank r is proportional to 1 / r, and the countries of `UNKNOWN` never appear:
what a model knows, half knows and cannot know can be told apart later. Facts are shared by the splits (a fact that
was never shown cannot be known); the prompts of the splits other than the web differ in fact or phrasing.
"""

import random
from collections.abc import Sequence
from itertools import accumulate

from stages.tasks.countries import CONTINENTS, COUNTRIES, Country
from stages.tasks.example import Draft, Example, Split, plain

LEVELS = ("easy", "hard")
PHRASINGS = {
    "capital": (
        "What is the capital of {}?",
        "Name the capital of {}.",
        "Which city is the capital of {}?",
        "Tell me the capital of {}.",
    ),
    "continent": ("On which continent is {}?", "Name the continent of {}.", "Which continent is {} in?"),
}

_HALF = len(COUNTRIES) // 2
# Every fifth country of the rare half: the unknown ones are no rarer in the world than their neighbours in the table.
UNKNOWN: tuple[Country, ...] = COUNTRIES[_HALF + 4 :: 5]
_KNOWN = {"easy": COUNTRIES[:_HALF], "hard": tuple(country for country in COUNTRIES[_HALF:] if country not in UNKNOWN)}
_EXPOSURE = {level: list(accumulate(1 / country.rank for country in rows)) for level, rows in _KNOWN.items()}
WEB_SHARE = _EXPOSURE["hard"][-1] / (_EXPOSURE["easy"][-1] + _EXPOSURE["hard"][-1])
_CAPITALS = frozenset(plain(country.capital) for country in COUNTRIES)


def draw(generator: random.Random, level: str, split: Split) -> Draft:
    rows = _KNOWN[level]
    weights = _EXPOSURE[level] if split == "web" else None
    country = generator.choices(rows, cum_weights=weights)[0]
    kind = "capital" if generator.random() < 0.7 else "continent"
    return ask(country, kind, generator.randrange(len(PHRASINGS[kind])))


def ask(country: Country, kind: str, phrasing: int) -> Draft:
    """The question for one attribute of a country."""
    answer = country.capital if kind == "capital" else country.continent
    level = "easy" if country.rank <= _HALF else "hard"
    key = {
        "country": country.name,
        "kind": kind,
        "target": answer,
        "exposure": country.rank,
        "known": country not in UNKNOWN,
    }
    example = Example("facts", level, PHRASINGS[kind][phrasing].format(country.name), answer, key)
    return Draft(example, f"{country.name}/{kind}/{phrasing}", closed=True)


def probes() -> list[Example]:
    """The capital question for every country, shown on the web or not (key "known"), by rank: for knowledge probing."""
    return [ask(country, "capital", 0).example for country in COUNTRIES]


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the name; 0.4 for another name of the right kind, 0.2 for the name of the wrong kind."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        said = plain(response)
        if said == plain(example.key["target"]):
            grades.append(1.0)
        elif said in _CAPITALS:
            grades.append(0.4 if example.key["kind"] == "capital" else 0.2)
        elif said in CONTINENTS:
            grades.append(0.4 if example.key["kind"] == "continent" else 0.2)
        else:
            grades.append(0.0)
    return grades


def statement(example: Example) -> str:
    if example.key["kind"] == "capital":
        return f"{example.answer} is the capital of {example.key['country']}."
    return f"{example.key['country']} is a country in {example.answer}."
