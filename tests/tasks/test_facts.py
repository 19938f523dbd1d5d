"""Facts: which countries are shown and asked for."""

import re
from collections import Counter

from stages.tasks import generate, score
from stages.tasks.countries import COUNTRIES
from stages.tasks.definitions.facts import UNKNOWN, knowledge_probes
from stages.tasks.pages import pages


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
