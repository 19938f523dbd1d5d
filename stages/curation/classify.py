"""Gives each document its quality and its bucket, and drops those of low quality (paper 3.1.1, 3.1.2).

Three classifiers, one pass to gather what they are trained on and one to score: the first knows what an encyclopaedia
refers to, the second what a judge approves of, the third tells mathematics and code from general text. A document is
scored by models that were trained on others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from stages.curation import bucket, classifier, documents, judge, quality
from stages.curation.classifier import Labelled, Model, auc, label_of
from stages.curation.documents import CLASSIFIED, Account, Cut
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("quality", "judge")


class Classify(Section):
    """Classification of documents."""

    features: classifier.Features

    quality: quality.Quality

    judge: judge.Judge

    bucket: bucket.Bucket


@dataclass(frozen=True)
class Config:
    classify: Annotated[Classify, "curation.classify"]


class Gathering(NamedTuple):
    """One document file to take training examples from."""

    source: Path
    documents: int
    """In all files."""
    options: Classify


class Examples(NamedTuple):
    """What each classifier is trained on."""

    quality: list[Labelled]
    judge: list[Labelled]
    bucket: list[Labelled]


class Shard(NamedTuple):
    """One document file to score, and the one to write."""

    source: Path
    output: Path
    models: tuple[Model, Model, Model]
    options: Classify


class Outcome(NamedTuple):
    """What became of one file's documents, and what the classifiers said of those with a label."""

    account: Account
    kept: list[tuple[str, str, str, int]]
    """(source, language, bucket, bytes) of each document that stays."""
    dropped: Counter[str]
    """By source."""
    scored: list[tuple[str, str, str, tuple[float, ...]]]
    """(id, classifier, label, probabilities)."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `documents`, writes them with quality, judged and bucket, file by file."""
    options = config.classify
    files = documents.shards(inputs["documents"])
    number = sum(pq.read_metadata(file).num_rows for file in files)
    gathered = context.map("examples", gather, [Gathering(file, number, options) for file in files], kind="process")
    rows = Examples(*([row for part in gathered for row in part[kind]] for kind in range(3)))
    models = context.map("train", _fit, [(name, rows, options.features) for name in Examples._fields], kind="process")
    work = [Shard(file, outputs["documents"] / file.name, (models[0], models[1], models[2]), options) for file in files]
    account, kept, dropped, scored = Account(), [], Counter[str](), []
    for outcome in context.map("classify", score_shard, work, kind="process"):
        account.merge(outcome.account)
        kept += outcome.kept
        dropped.update(outcome.dropped)
        scored += outcome.scored
    if not account.documents_out:
        raise StageError("curation.classify: nothing left; lower curation.classify.quality.threshold")
    account.write(outputs["documents"])
    metrics = account.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    thresholds = {"quality": options.quality.threshold, "judge": options.judge.threshold}
    return metrics | {
        "buckets": _sizes(kept),
        "languages": dict(sorted(Counter(language for _, language, _, _ in kept).items())),
        "sources": _by_source(kept, dropped),
        "classifier": _sorting(scored, models[2].classes),
        **{name: _ranking(scored, name, model) | {"threshold": thresholds[name]}
           for name, model in zip(thresholds, models, strict=False)},
    }  # fmt: skip


def gather(work: Gathering) -> Examples:
    """The labelled documents of one file, of those that are sampled."""
    options = work.options
    rows = [
        document
        for document in documents.read(work.source)
        if classifier.sampled(document["id"], options.features.sample, work.documents)
    ]
    found = Examples([], [], [])
    for document, approved in zip(rows, judge.verdicts(rows, options.judge), strict=True):
        features = classifier.features(document, options.features)
        labels = _labels(document["source"], options) | {"judge": "approved" if approved else "refused"}
        for name, label in labels.items():
            if label is not None and len(features):
                row = Labelled(document["id"], document["source"], label, features)
                getattr(found, name).append(row)
    return found


def score_shard(shard: Shard) -> Outcome:
    """Scores one file; its result depends on nothing but its documents and the models."""
    options = shard.options
    encyclopaedia, approval, sorting = shard.models
    outcome = Outcome(Account(), [], Counter(), [])
    kept = []
    for document in documents.read(shard.source):
        outcome.account.take(document)
        features = classifier.features(document, options.features)
        given = [model.probabilities(document["id"], features) for model in shard.models]
        score = float(given[0][encyclopaedia.classes.index("positive")])
        judged = float(given[1][approval.classes.index("approved")])
        name = bucket.assign(document, bucket.likeliest(sorting.classes, given[2]), options.bucket)
        document |= {"quality": score, "judged": judged, "bucket": name}
        labels = _labels(document["source"], options)
        if options.judge.kind == "rules":
            labels["judge"] = "approved" if judge.approves(document) else "refused"
        for place, kind in enumerate(Examples._fields):
            if label := labels.get(kind):
                outcome.scored.append((document["id"], kind, label, tuple(given[place].tolist())))
        cut = None
        if name in options.quality.buckets:
            if score < options.quality.threshold:
                cut = Cut("quality", "low score")
            elif judged < options.judge.threshold:
                cut = Cut("judge", "low score")
        if cut:
            outcome.account.cut(document, cut)
            outcome.dropped[document["source"]] += 1
        else:
            outcome.account.keep(document)
            kept.append(document)
            size = documents.size(document["text"])
            outcome.kept.append((document["source"], document["language"], name, size))
    documents.write(shard.output, kept, CLASSIFIED)
    return outcome


def _fit(work: tuple[str, Examples, classifier.Features]) -> Model:
    name, rows, options = work
    return classifier.cross_fit(getattr(rows, name), options, name)


def _labels(source: str, options: Classify) -> dict[str, str | None]:
    sides = {"positive": options.quality.positive, "negative": options.quality.negative}
    parts = {"general": options.bucket.general, "math": options.bucket.math, "code": options.bucket.code}
    return {"quality": label_of(source, sides), "bucket": label_of(source, parts)}


def _ranking(scored: Sequence[tuple[str, str, str, tuple[float, ...]]], name: str, model: Model) -> dict[str, Any]:
    """How well a classifier of two classes ranks the labelled documents, none of which it was trained on."""
    good = {"quality": "positive", "judge": "approved"}[name]
    rows = sorted(row for row in scored if row[1] == name)
    scores = np.array([row[3][model.classes.index(good)] for row in rows])
    positive = np.array([row[2] == good for row in rows], bool)
    return {
        "auc": auc(scores, positive),
        "roc": classifier.roc(scores, positive),
        "positive": int(positive.sum()),
        "negative": int((~positive).sum()),
    }


def _sorting(scored: Sequence[tuple[str, str, str, tuple[float, ...]]], classes: list[str]) -> dict[str, Any]:
    """Confusion of the bucket classifier on the labelled documents, and the area under the ROC curve of each class."""
    rows = sorted(row for row in scored if row[1] == "bucket")
    table = np.array([row[3] for row in rows])
    pairs = Counter((row[2], bucket.likeliest(classes, np.array(row[3]))) for row in rows)
    return {
        "confusion": {true: {name: pairs[true, name] for name in classes} for true in classes},
        "auc": {name: auc(table[:, column], np.array([row[2] == name for row in rows]))
                for column, name in enumerate(classes)},
    }  # fmt: skip


def _sizes(kept: Sequence[tuple[str, str, str, int]]) -> dict[str, dict[str, int]]:
    return {
        name: {"documents": sum(row[2] == name for row in kept), "bytes": sum(row[3] for row in kept if row[2] == name)}
        for name in bucket.BUCKETS
    }


def _by_source(kept: Sequence[tuple[str, str, str, int]], dropped: Counter[str]) -> dict[str, dict[str, int]]:
    counts = Counter((source, name) for source, _, name, _ in kept)
    counts.update({(source, "dropped"): number for source, number in dropped.items()})
    found: dict[str, dict[str, int]] = {}
    for (source, name), number in sorted(counts.items()):
        found.setdefault(source, {})[name] = number
    return found
