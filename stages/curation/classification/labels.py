"""Pages labelled by hand, and the error of the classifiers on them; no classifier is trained on these pages.

labels.yaml holds the guideline, the addresses and the labels, and none of the pages' text.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
import yaml

from stages import statistics
from stages.curation.classification.classifier import roc_auc
from stages.curation.documents import Document

LABELS = Path(__file__).with_name("labels.yaml")
DRAWS = 500
"""Bootstrap draws of the interval of an area under the ROC curve."""


class PageLabel(NamedTuple):
    """The labels of one page."""

    text: str
    """Hash of the text that was read (`text_hash`)."""
    sample: str
    """random, border (low scores and surprising buckets of an earlier classifier), or topic (for the topics only)."""
    quality: int
    """1: good enough to train on."""
    kind: str
    """general, math, code or other."""
    topic: str | None
    """A topic or other; None for pages that are not English general text."""


class ScoredPage(NamedTuple):
    """A labelled page and what the classifiers say of it."""

    url: str
    source: str
    text: str
    """Hash of its text now."""
    size: int
    """Characters of text."""
    quality: float
    kind: str
    """Bucket of its domain."""


@cache
def load_labels() -> dict[str, PageLabel]:
    """URL -> labels."""
    records = yaml.safe_load(LABELS.read_text(encoding="utf-8"))
    return {url: PageLabel(*values) for url, values in records.items()}


def text_hash(text: str) -> str:
    """16 hex digits that change with the text."""
    return xxhash.xxh64_hexdigest(text.encode())


def is_labelled(document: Document) -> bool:
    """Whether the page or the page that it is a copy of is held out for its labels."""
    labels = load_labels()
    return document["url"] in labels or document["planted_from"] in labels


def measure_quality(pages: Sequence[ScoredPage], threshold: float) -> dict[str, Any]:
    """Area under the ROC curve of the quality score and of two trivial scores; precision and recall at the threshold.
    Pages of mathematics and code are left out, as the threshold does not apply to them.

    `source` scores a page by the share of good pages among the other labelled pages of its source. `within_source`
    counts pairs of pages of one source, among which a score by source is no better than chance.
    """
    labels = load_labels()
    pages = [page for page in pages if labels[page.url].kind not in ("math", "code")]
    good = np.array([labels[page.url].quality for page in pages], bool)
    scores = np.array([page.quality for page in pages])
    sources = [page.source for page in pages]
    kept = scores >= threshold
    return {
        "pages": len(pages),
        "changed": sum(labels[page.url].text != page.text for page in pages),
        "good": int(good.sum()),
        "auc": _auc_interval(scores, good),
        "within_source": _within_source(scores, good, sources),
        "baselines": {
            "source": _auc_interval(_leave_one_out(good, sources), good),
            "length": _auc_interval(np.array([page.size for page in pages], float), good),
        },
        "precision": _wilson(int((kept & good).sum()), int(kept.sum())),
        "recall": _wilson(int((kept & good).sum()), int(good.sum())),
    }


def measure_kind(pages: Sequence[ScoredPage]) -> dict[str, Any]:
    """Accuracy of the kind, and of the most frequent kind of the other labelled pages of the source."""
    labels = load_labels()
    true = [labels[page.url].kind for page in pages]
    confusion: dict[str, dict[str, int]] = defaultdict(dict)
    for (label, predicted), count in sorted(Counter(zip(true, (p.kind for p in pages), strict=True)).items()):
        confusion[label][predicted] = count
    by_source = [
        Counter(true[other] for other in range(len(pages)) if other != n and pages[other].source == pages[n].source)
        for n in range(len(pages))
    ]
    guesses = [max(counts, key=lambda kind: (counts[kind], kind), default="general") for counts in by_source]
    return {
        "accuracy": _wilson(sum(label == page.kind for label, page in zip(true, pages, strict=True)), len(pages)),
        "baselines": {
            "source": _wilson(sum(label == guess for label, guess in zip(true, guesses, strict=True)), len(pages)),
            "general": _wilson(true.count("general"), len(pages)),
        },
        "confusion": dict(confusion),
    }


def measure_topic(pairs: Counter[tuple[str, str]]) -> dict[str, Any]:
    """Accuracy and confusion of counts of (labelled topic, predicted topic), and of always the most frequent topic."""
    total = sum(pairs.values())
    by_topic: Counter[str] = Counter()
    confusion: dict[str, dict[str, int]] = defaultdict(dict)
    for (label, predicted), count in sorted(pairs.items()):
        by_topic[label] += count
        confusion[label][predicted] = count
    return {
        "accuracy": _wilson(sum(count for (label, predicted), count in pairs.items() if label == predicted), total),
        "baselines": {"most frequent": _wilson(max(by_topic.values(), default=0), total)},
        "confusion": dict(confusion),
    }


def _wilson(successes: int, total: int) -> dict[str, float] | None:
    return statistics.wilson(successes, total) if total else None


def _auc_interval(scores: np.ndarray, good: np.ndarray) -> dict[str, float] | None:
    value = roc_auc(scores, good)
    if value is None:
        return None
    generator, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = generator.integers(len(good), size=len(good))
        drawn = roc_auc(scores[chosen], good[chosen])
        if drawn is not None:
            draws.append(drawn)
    return statistics.bootstrap_estimate(value, draws, len(good))


def _within_source(scores: np.ndarray, good: np.ndarray, sources: Sequence[str]) -> dict[str, float] | None:
    """Share of the pairs of a good and a bad page of one source in which the good one has the higher score."""
    won: list[float] = []
    clusters: list[str] = []
    for number in np.flatnonzero(good).tolist():
        others = [other for other in np.flatnonzero(~good).tolist() if sources[other] == sources[number]]
        won += [
            float(scores[number] > scores[other]) + 0.5 * float(scores[number] == scores[other]) for other in others
        ]
        clusters += [f"{sources[number]} {number}"] * len(others)
    return statistics.clustered_mean(won, clusters) if len(set(clusters)) > 1 else None


def _leave_one_out(good: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """For each page the share of good pages among the others of its source, drawn towards all pages by one page."""
    num_pages, num_good = Counter(sources), Counter(np.array(sources)[good].tolist())
    pairs = zip(sources, good.tolist(), strict=True)
    prior = float(good.mean()) if len(good) else 0.0
    return np.array([(num_good[source] - is_good + prior) / num_pages[source] for source, is_good in pairs])
