"""Pages labelled by hand, and measures on them."""

from collections import Counter

import pytest

from stages.curation.classification import labels
from stages.curation.classification.labels import PageLabel, ScoredPage

PAGES = {
    "https://a.example/1": PageLabel("", "random", 1, "general", None),
    "https://a.example/2": PageLabel("", "random", 0, "general", None),
    "https://b.example/1": PageLabel("", "random", 1, "general", None),
    "https://b.example/2": PageLabel("", "random", 0, "code", None),
    "https://b.example/3": PageLabel("", "random", 0, "general", None),
}


def test_labels_are_complete() -> None:
    found = labels.load_labels()
    assert len(found) >= 200
    assert {label.kind for label in found.values()} == {"general", "math", "code", "other"}
    assert {label.quality for label in found.values()} == {0, 1}
    assert sum(label.topic is not None for label in found.values()) >= 100


def test_a_score_by_source_is_chance_within_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "load_labels", lambda: PAGES)

    def measure(scores: list[float]) -> dict[str, object]:
        pages = [ScoredPage(url, url[8], "", 10, score, "general") for url, score in zip(PAGES, scores, strict=True)]
        found = labels.measure_quality(pages, 0.5)
        assert found["pages"] == 4  # the page of code does not count
        return found

    right = measure([0.9, 0.1, 0.8, 0.0, 0.2])
    assert right["auc"]["value"] == right["within_source"]["value"] == 1.0  # type: ignore[index]
    assert right["precision"]["value"] == right["recall"]["value"] == 1.0  # type: ignore[index]
    by_source = measure([0.9, 0.9, 0.1, 0.1, 0.1])
    assert by_source["within_source"]["value"] == 0.5  # type: ignore[index]


def test_topics_are_counted_against_the_most_frequent_one() -> None:
    found = labels.measure_topic(Counter({("arts", "arts"): 3, ("arts", "other"): 1, ("sports", "arts"): 1}))
    assert found["accuracy"]["value"] == pytest.approx(0.6)
    assert found["baselines"]["most frequent"]["value"] == pytest.approx(0.8)
    assert found["confusion"] == {"arts": {"arts": 3, "other": 1}, "sports": {"arts": 1}}
    assert labels.measure_topic(Counter())["accuracy"] is None
