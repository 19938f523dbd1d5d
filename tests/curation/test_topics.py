"""Topics of general pages: learnt from words, held against sections in addresses, thinned to a share."""

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.curation import documents, topics
from stages.curation.documents import CLASSIFIED, Document
from stages.curation.topics import OTHER, Config, Topics
from stages.interface import Metrics
from tests.curation.samples import contents, document, fresh, section
from tests.recorder import Recorder

RULES = {"kind": "rules", "url": None, "model": None, "threshold": 0.0}
WORDS = {"arts": ["film", "song"], "sports": ["match", "goal"]}
VOCABULARY = {
    "arts": "film song actress stage studio camera",
    "sports": "match goal keeper stadium referee ball",
    OTHER: "stone bread window table spoon chair",
}
OPTIONS = {
    "words": WORDS,
    "sections": {"arts": ["culture"], "sports": ["football"]},
    "hits": 4,
    "lead": 2,
    "examples": 10,
    "sure": 0.5,
    "most": {"arts": 0.4},
    "features": {
        "characters": 2000,
        "ngrams": 1,
        "hash_bits": 14,
        "dimension": 8,
        "rate": 1.0,
        "epochs": 30,
        "folds": 2,
        "sample": 10_000,
    },
}


def options(**changed: object) -> Topics:
    return Topics.model_validate(OPTIONS | changed)


def corpus() -> list[Document]:
    """Twice as many pages on arts as on sports; some with their section in the address, without the listed words."""
    generator = random.Random(0)
    rows = []
    for topic, number in (("arts", 120), ("sports", 60), (OTHER, 60)):
        for n in range(number):
            told = n % 10 == 0 and topic != OTHER
            words = [word for word in VOCABULARY[topic].split() if not told or word not in WORDS[topic]]
            name = OPTIONS["sections"][topic][0] if told else "page"  # type: ignore[index]
            row = document(" ".join(generator.choices(words, k=40)), f"https://x.example/{name}/{topic}-{n}")
            rows.append(row | {"bucket": "general"})
    rows.append(document("film " * 40) | {"bucket": "multilingual", "language": "de"})
    return sorted(rows, key=lambda row: row["id"])


def run(directory: Path, shards: int, **changed: object) -> Metrics:
    source, out = fresh(directory / "in"), fresh(directory / "out")
    documents.write_sharded(source, corpus(), shards, CLASSIFIED)
    config = Config(options(**changed), topics.judge.Judge.model_validate(RULES))
    return topics.run(config, {"documents": source}, {"documents": out}, Recorder(directory))


def test_pages_get_topics_and_one_is_thinned_to_its_share(tmp_path: Path) -> None:
    metrics = run(tmp_path / "a", 1)
    assert metrics["by_section"]["accuracy"]["value"] == 1.0 and metrics["by_section"]["accuracy"]["n"] == 18
    assert metrics["by_words"]["accuracy"]["value"] == 1.0
    size = metrics["bytes"]
    assert (
        size["arts"]["before"] > 1.8 * size["sports"]["before"] and size["sports"]["after"] == size["sports"]["before"]
    )
    left = size["arts"]["after"] / (size["arts"]["after"] + size["sports"]["after"])
    assert left == pytest.approx(0.4, abs=0.06)
    kept = documents.read_all(tmp_path / "a" / "out")
    assert metrics["funnel"][0]["documents"] == 241 - len(kept) == 120 - sum(row["topic"] == "arts" for row in kept)
    german = next(row for row in kept if row["language"] == "de")
    assert german["topic"] is None  # its words are not English
    again = run(tmp_path / "b", 3)
    assert again == metrics and documents.read_all(tmp_path / "b" / "out") == kept
    removed = [contents(tmp_path / name / "out")["removed.parquet"] for name in "ab"]
    assert removed[0] == removed[1]


def test_without_enough_examples_there_are_no_topics(tmp_path: Path) -> None:
    metrics = run(tmp_path, 1, examples=1000)
    assert metrics["bytes"] == {} and metrics["documents_out"] == 241
    assert metrics["by_section"]["accuracy"] is None


def test_examples_have_many_of_one_topics_words_and_few_of_others() -> None:
    assert topics.topic_by_words("film song film song", options()) == "arts"
    assert topics.topic_by_words("film song film match match", options()) is None  # fewer than four
    assert topics.topic_by_words("film song film song match match match", options()) is None  # not twice as many
    assert topics.topic_by_words("stone bread", options()) == OTHER
    assert topics.topic_of_section("https://x.example/culture/2020/page", options()) == "arts"
    assert topics.topic_of_section("https://x.example/2020/culture", options()) is None  # the page's own name


def test_limits_are_shares_of_what_is_left() -> None:
    sizes = {"arts": 800, "sports": 300, "health": 100, OTHER: 10_000}
    assert topics.compute_keep_shares(sizes, {"arts": 0.5}) == {"arts": 0.5}  # 400 of 800
    stays = topics.compute_keep_shares(
        sizes, {"arts": 0.5, "sports": 0.3}
    )  # with arts at half, sports is above 0.3 in turn
    left = {topic: sizes[topic] * stays.get(topic, 1) for topic in ("arts", "sports", "health")}
    assert left == pytest.approx({"arts": 250, "sports": 150, "health": 100}, rel=1e-3)
    assert topics.compute_keep_shares(sizes, {"arts": 0.9}) == {}


def test_limits_of_unknown_topics_are_refused() -> None:
    with pytest.raises(ValidationError, match="cooking: no words are given"):
        options(most={"cooking": 0.1})
    with pytest.raises(ValidationError, match="leave nothing"):
        options(most={"arts": 0.5, "sports": 0.5})
    Topics.model_validate(section("topics"))
