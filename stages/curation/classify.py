"""Gives each document its quality, its domain and its bucket, and drops those of low quality (paper 3.1.1, 3.1.2).

Three classifiers: the first knows what an encyclopaedia refers to, the second what a judge approves of, the third tells
mathematics, reasoning and code from general text. One pass gathers what they are trained on, one scores, by models that
were trained on other documents, and one drops what is low by its score or by its place within its language.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from stages.curation import documents
from stages.curation.classification import bucket, classifier, judge, quality
from stages.curation.classification.classifier import Labelled, Model, auc, label_of
from stages.curation.classification.ranking import Ranking, place
from stages.curation.documents import CLASSIFIED, FilterStats, Removal
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("quality", "judge", "ranking")


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
    models: Mapping[str, Model]
    """By the names of Examples."""
    options: Classify


class Scored(NamedTuple):
    """What the classifiers say of one file's documents."""

    labelled: list[tuple[str, str, str, tuple[float, ...]]]
    """(id, classifier, label, probabilities) of those with a label."""
    ranking: Ranking


class Selection(NamedTuple):
    """One file of scored documents to drop those of low quality from."""

    path: Path
    places: Mapping[str, np.ndarray]
    options: quality.Quality
    judged: float
    """Least approval."""


class Outcome(NamedTuple):
    """What became of one file's documents."""

    stats: FilterStats
    kept: list[tuple[str, str, str, str, int]]
    """(source, language, domain, bucket, bytes) of each document that stays."""
    dropped: Counter[str]
    """By source."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `documents`, writes them with the columns of CLASSIFIED, file by file; topics have their own stage."""
    options = config.classify
    files = documents.document_files(inputs["documents"])
    number = sum(pq.read_metadata(file).num_rows for file in files)
    gathered = context.map("examples", gather, [Gathering(file, number, options) for file in files], kind="process")
    rows = Examples(*([row for part in gathered for row in part[kind]] for kind in range(3)))
    models = classifier.cross_fit(rows._asdict(), options.features, context)
    work = [Shard(file, outputs["documents"] / file.name, models, options) for file in files]
    scored, ranking = [], Ranking()
    for found in context.map("score", score_shard, work, kind="process"):
        scored += found.labelled
        ranking.add(found.ranking)
    places = ranking.places()
    selections = [Selection(shard.output, places, options.quality, options.judge.threshold) for shard in work]
    stats, kept, dropped = FilterStats(), [], Counter[str]()
    for outcome in context.map("select", select_shard, selections, kind="process"):
        stats.merge(outcome.stats)
        kept += outcome.kept
        dropped.update(outcome.dropped)
    if not stats.documents_out:
        raise StageError("curation.classify: nothing left; lower curation.classify.quality.threshold")
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    thresholds = {"quality": options.quality.threshold, "judge": options.judge.threshold}
    return metrics | {
        "buckets": _sizes(kept, 3, bucket.BUCKETS),
        "domains": _sizes(kept, 2, bucket.DOMAINS),
        "languages": dict(sorted(Counter(row[1] for row in kept).items())),
        "sources": _by_source(kept, dropped),
        "classifier": _sorting(scored, models["bucket"].classes),
        **{name: _ranking(scored, name, models[name]) | {"threshold": thresholds[name]} for name in thresholds},
    }


def gather(work: Gathering) -> Examples:
    """The labelled documents of one file, of those that are sampled."""
    options = work.options
    rows = [
        document
        for document in documents.read_documents(work.source)
        if classifier.sampled(document["id"], options.features.sample, work.documents)
    ]
    quality_sources, domain_sources = options.quality.sources_by_label(), options.bucket.sources_by_domain()
    labels: dict[str, Sequence[str | None]] = {
        "quality": [label_of(row["source"], quality_sources) for row in rows],
        "judge": ["approved" if approved else "refused" for approved in judge.verdicts(rows, options.judge)],
        "bucket": [label_of(row["source"], domain_sources) for row in rows]
        if options.judge.kind == "rules"
        else judge.ask(rows, bucket.QUESTION, bucket.DOMAINS, options.judge),
    }
    found = Examples([], [], [])
    for number, document in enumerate(rows):
        features = classifier.features(document, options.features)
        for name in Examples._fields:
            label = labels[name][number]
            if label is not None and len(features):
                getattr(found, name).append(Labelled(document["id"], document["source"], label, features))
    return found


def score_shard(shard: Shard) -> Scored:
    """Scores one file; its result depends on nothing but its documents and the models."""
    options = shard.options
    quality_sources, domain_sources = options.quality.sources_by_label(), options.bucket.sources_by_domain()
    encyclopaedia, approval, sorting = (shard.models[name] for name in Examples._fields)
    found = Scored([], Ranking())
    rows = documents.read_documents(shard.source)
    for document in rows:
        features = classifier.features(document, options.features)
        given = [model.probabilities(document["id"], features) for model in (encyclopaedia, approval, sorting)]
        score = float(given[0][encyclopaedia.classes.index("positive")])
        domain = bucket.likeliest(sorting.classes, given[2])
        document |= {
            "quality": score,
            "judged": float(given[1][approval.classes.index("approved")]),
            "domain": domain,
            "bucket": bucket.assign(document, domain, options.bucket),
        }
        found.ranking.count(document["language"], score)
        labels = {
            "quality": label_of(document["source"], quality_sources),
            "bucket": label_of(document["source"], domain_sources),
        }
        if options.judge.kind == "rules":
            labels["judge"] = "approved" if judge.approves(document) else "refused"
        for number, kind in enumerate(Examples._fields):
            if label := labels.get(kind):
                found.labelled.append((document["id"], kind, label, tuple(given[number].tolist())))
    documents.write_documents(shard.output, rows, CLASSIFIED)
    return found


def select_shard(work: Selection) -> Outcome:
    """Ranks the documents of one scored file and drops the low ones, in place."""
    outcome = Outcome(FilterStats(), [], Counter())

    def judge(document: documents.Document) -> Removal | None:
        document["rank"] = place(work.places, document["language"], document["quality"])
        cut = low(document, work.options, work.judged)
        if cut:
            outcome.dropped[document["source"]] += 1
        return cut

    kept = list(documents.filter_documents(documents.read_documents(work.path), judge, outcome.stats))
    documents.write_documents(work.path, kept, CLASSIFIED)
    names = ("source", "language", "domain", "bucket")
    outcome.kept.extend((*(row[name] for name in names), documents.num_bytes(row["text"])) for row in kept)
    return outcome


def low(document: documents.Document, options: quality.Quality, judged: float) -> Removal | None:
    """Why the quality of a scored and ranked document is too low, or None; judged: least approval."""
    if document["bucket"] in options.buckets:
        if document["quality"] < options.threshold:
            return Removal("quality", "low score")
        if document["judged"] < judged:
            return Removal("judge", "low score")
    if document["bucket"] == "multilingual" and document["rank"] < options.lowest:
        return Removal("ranking", "low in its language")
    return None


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
    """Confusion of the domain classifier on the labelled documents, and the area under the ROC curve of each class."""
    rows = sorted(row for row in scored if row[1] == "bucket")
    table = np.array([row[3] for row in rows])
    pairs = Counter((row[2], bucket.likeliest(classes, np.array(row[3]))) for row in rows)
    return {
        "confusion": {true: {name: pairs[true, name] for name in classes} for true in classes},
        "auc": {
            name: auc(table[:, column], np.array([row[2] == name for row in rows]))
            for column, name in enumerate(classes)
        },
    }


def _sizes(
    kept: Sequence[tuple[str, str, str, str, int]], column: int, names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Documents and bytes by domain (column 2) or bucket (3)."""
    chosen = {name: [row for row in kept if row[column] == name] for name in names}
    return {name: {"documents": len(rows), "bytes": sum(row[4] for row in rows)} for name, rows in chosen.items()}


def _by_source(kept: Sequence[tuple[str, str, str, str, int]], dropped: Counter[str]) -> dict[str, dict[str, int]]:
    counts = Counter((source, name) for source, _, _, name, _ in kept)
    counts.update({(source, "dropped"): number for source, number in dropped.items()})
    found: dict[str, dict[str, int]] = {}
    for (source, name), number in sorted(counts.items()):
        found.setdefault(source, {})[name] = number
    return found
