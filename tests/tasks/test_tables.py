"""The tables behind translation and facts, and what the tasks promise about them."""

import re
from collections import Counter

from stages.tasks import generate, score
from stages.tasks.countries import COUNTRIES
from stages.tasks.definitions.facts import UNKNOWN, knowledge_probes
from stages.tasks.pages import pages
from stages.tasks.words import COUNTABLE, LANGUAGES, NUMBERS, PLAIN_WORDS, WORDS


def test_every_word_has_a_translation_into_every_language() -> None:
    assert len(WORDS) == 58
    assert all(len(words) == len(LANGUAGES) == 5 and all(words) for words in WORDS.values())
    assert len(NUMBERS) == 12
    assert all(len(plurals) == 5 for _, plurals in COUNTABLE.values())
    assert len(set(PLAIN_WORDS)) == len(PLAIN_WORDS)


def test_no_foreign_word_has_two_english_meanings() -> None:
    meanings: dict[str, set[str]] = {}
    for english, words in WORDS.items():
        for word in words:
            meanings.setdefault(word.lower(), set()).add(english)
    assert {word: found for word, found in meanings.items() if len(found) > 1} == {}


def test_a_phrase_with_one_right_word_scores_between_wrong_and_right() -> None:
    example = next(e for e in generate("translation", "test", 50, 1) if e.level == "hard")
    first = example.answer.split()[0]
    right, half, wrong = score([example] * 3, [example.answer, f"{first} xyzzy", "xyzzy quux"])
    assert right > half > wrong
    assert score([example], [example.answer.upper() + "."]) == [1.0]


def test_countries_are_distinct_and_ranked() -> None:
    assert len(COUNTRIES) >= 95
    assert len({c.name for c in COUNTRIES}) == len({c.capital for c in COUNTRIES}) == len(COUNTRIES)
    assert [c.rank for c in COUNTRIES] == list(range(1, len(COUNTRIES) + 1))
    assert len({c.continent for c in COUNTRIES}) == 6


def test_unknown_countries_are_never_shown_and_exposure_falls_with_rank() -> None:
    text = " ".join(page.body.decode() for page in pages("facts", 60, seed=1))
    assert len(UNKNOWN) == 10
    for country in UNKNOWN:
        assert not re.search(rf"\b{country.name}\b|\b{country.capital}\b", text), country
    shown = Counter({c.name: len(re.findall(rf"\b{c.name}\b", text)) for c in COUNTRIES})
    assert shown["France"] > 5 * shown[COUNTRIES[19].name] > 0
    assert sum(shown[c.name] for c in COUNTRIES[:10]) > sum(shown[c.name] for c in COUNTRIES[50:])


def test_prompts_of_every_split_ask_for_known_countries_and_probes_for_all() -> None:
    assert all(e.key["known"] for split in ("sft", "test", "web") for e in generate("facts", split, 200, 1))
    assert len(knowledge_probes()) == len(COUNTRIES)
    assert sum(not e.key["known"] for e in knowledge_probes()) == 10
    assert [e.key["exposure"] for e in knowledge_probes()] == sorted(e.key["exposure"] for e in knowledge_probes())


def test_another_capital_is_nearer_than_a_continent() -> None:
    france = knowledge_probes()[0]
    assert score([france] * 4, ["Paris.", "Berlin", "Europe", "bread"]) == [1.0, 0.4, 0.2, 0.0]
