"""Capitals and continents of countries: frequent on the web (easy) and rare (hard).

On web pages the share of the country of rank r is proportional to 1 / r, and the countries in `UNKNOWN` never appear.
So knowledge can be measured against exposure. The splits share facts (a model cannot know a fact that it never saw);
the prompts of the splits other than the web differ in fact or phrasing.
"""

import random
from collections.abc import Sequence
from itertools import accumulate

from stages.tasks.countries import CONTINENTS, COUNTRIES, Country
from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import normalize_answer
from stages.tasks.task import TaskInfo

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
# Every fifth country of the rare half, so that unknown countries are as rare as their neighbours in the table.
UNKNOWN: tuple[Country, ...] = COUNTRIES[_HALF + 4 :: 5]
_KNOWN = {"easy": COUNTRIES[:_HALF], "hard": tuple(country for country in COUNTRIES[_HALF:] if country not in UNKNOWN)}
_EXPOSURE = {level: list(accumulate(1 / country.rank for country in countries)) for level, countries in _KNOWN.items()}
INFO = TaskInfo(
    name="facts",
    order=5,
    sites=("capital-quiz.example", "world-geography.example", "countries-notes.example"),
    topics=("capitals and continents", "countries of the world", "geography"),
    domain="general",
    is_quality_positive=True,
    hard_share=_EXPOSURE["hard"][-1] / (_EXPOSURE["easy"][-1] + _EXPOSURE["hard"][-1]),
    is_verified=True,
)
_CAPITALS = frozenset(normalize_answer(country.capital) for country in COUNTRIES)


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    countries = _KNOWN[level]
    weights = _EXPOSURE[level] if split == "web" else None
    country = generator.choices(countries, cum_weights=weights)[0]
    kind = "capital" if generator.random() < 0.7 else "continent"
    return make_question(country, kind, generator.randrange(len(PHRASINGS[kind])))


def make_question(country: Country, kind: str, phrasing: int) -> Candidate:
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
    example = Example(INFO.name, level, PHRASINGS[kind][phrasing].format(country.name), answer, key)
    return Candidate(example, f"{country.name}/{kind}/{phrasing}", "facts")


def knowledge_probes() -> list[Example]:
    """The question for the capital of every country, by rank; key "known": whether it is on the web."""
    return [make_question(country, "capital", 0).example for country in COUNTRIES]


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the right name; 0.4 for another name of the right kind, 0.2 for a name of the other kind."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        name = normalize_answer(response)
        if name == normalize_answer(example.key["target"]):
            grades.append(1.0)
        elif name in _CAPITALS:
            grades.append(0.4 if example.key["kind"] == "capital" else 0.2)
        elif name in CONTINENTS:
            grades.append(0.4 if example.key["kind"] == "continent" else 0.2)
        else:
            grades.append(0.0)
    return grades


def statement(example: Example) -> str:
    if example.key["kind"] == "capital":
        return f"{example.answer} is the capital of {example.key['country']}."
    return f"{example.key['country']} is a country in {example.answer}."
