"""Assigns quality, domain and bucket to each document, and drops documents of low quality (paper 3.1.1, 3.1.2).

Three classifiers: is the page written, would a judge approve it, and its domain (general,
mathematics, reasoning, code). The first pass collects training examples, the second scores with models trained on other
documents, the third drops documents with a low score or a low percentile within their language.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from stages.curation import documents
from stages.curation.classification import bucket, classifier, judge, labels, layout, quality
from stages.curation.classification.classifier import LabelledDocument, Model, roc_auc, weak_label
from stages.curation.classification.ranking import ScoreHistogram, percentile
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


class ExampleShard(NamedTuple):
    """One document file to collect training examples from."""

    source: Path
    num_documents: int
    """Documents in all files."""
    options: Classify


class Examples(NamedTuple):
    """Training examples of each classifier."""

    quality: list[LabelledDocument]
    judge: list[LabelledDocument]
    bucket: list[LabelledDocument]


class Shard(NamedTuple):
    """One document file to score, and its output file."""

    source: Path
    output: Path
    models: Mapping[str, Model]
    """By the field names of Examples."""
    options: Classify


class ShardScores(NamedTuple):
    """Scores of one file."""

    labelled: list[tuple[str, str, str, tuple[float, ...]]]
    """(id, classifier, label, probabilities) of the documents with a label."""
    histogram: ScoreHistogram
    pages: list[labels.ScoredPage]
    """The documents that are labelled by hand."""


class Selection(NamedTuple):
    """One file of scored documents to filter."""

    path: Path
    percentiles: Mapping[str, np.ndarray]
    options: quality.Quality
    min_approval: float


class SelectionResult(NamedTuple):
    """Kept and dropped documents of one file."""

    stats: FilterStats
    kept: list[tuple[str, str, str, str, int]]
    """(source, language, domain, bucket, bytes) of each kept document."""
    dropped: Counter[str]
    """Documents by source."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `documents`, writes them with the columns of CLASSIFIED, file by file; stage topics adds topics."""
    options = config.classify
    files = documents.document_files(inputs["documents"])
    num_documents = sum(pq.read_metadata(file).num_rows for file in files)
    example_shards = [ExampleShard(file, num_documents, options) for file in files]
    collected = context.map("examples", collect_examples, example_shards, kind="process")
    examples = Examples(*([example for part in collected for example in part[kind]] for kind in range(3)))
    models = classifier.cross_fit(examples._asdict(), options.features, context)
    work = [Shard(file, outputs["documents"] / file.name, models, options) for file in files]
    scored, histogram, pages = [], ScoreHistogram(), list[labels.ScoredPage]()
    for scores in context.map("score", score_shard, work, kind="process"):
        scored += scores.labelled
        histogram.merge(scores.histogram)
        pages += scores.pages
    percentiles = histogram.percentiles()
    selections = [Selection(shard.output, percentiles, options.quality, options.judge.threshold) for shard in work]
    stats, kept, dropped = FilterStats(), [], Counter[str]()
    for result in context.map("select", select_shard, selections, kind="process"):
        stats.merge(result.stats)
        kept += result.kept
        dropped.update(result.dropped)
    if not stats.documents_out:
        raise StageError("curation.classify: nothing left; lower curation.classify.quality.threshold")
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    thresholds = {"quality": options.quality.threshold, "judge": options.judge.threshold}
    return metrics | {
        "buckets": _sizes_by_column(kept, 3, bucket.BUCKETS),
        "domains": _sizes_by_column(kept, 2, bucket.DOMAINS),
        "languages": dict(sorted(Counter(language for _, language, _, _, _ in kept).items())),
        "sources": _counts_by_source(kept, dropped),
        "classifier": _domain_metrics(scored, models["bucket"].classes),
        "labelled": {
            "quality": labels.measure_quality(pages, options.quality.threshold),
            "kind": labels.measure_kind(pages),
        },
        **{name: _binary_metrics(scored, name, models[name]) | {"threshold": thresholds[name]} for name in thresholds},
    }


def collect_examples(work: ExampleShard) -> Examples:
    """The labelled documents in the sample of one file."""
    options = work.options
    rows = [
        document
        for document in documents.read_documents(work.source)
        if classifier.is_sampled(document["id"], options.features.sample, work.num_documents)
        and not labels.is_labelled(document)
    ]
    domain_sources = options.bucket.sources_by_domain()
    weak_labels: dict[str, Sequence[str | None]] = {
        "quality": [quality.weak_label(row) for row in rows],
        "judge": ["approved" if approved else "refused" for approved in judge.judge_documents(rows, options.judge)],
        "bucket": [weak_label(row["source"], domain_sources) for row in rows]
        if options.judge.kind == "rules"
        else judge.ask_endpoint(rows, bucket.QUESTION, bucket.DOMAINS, options.judge),
    }
    examples = Examples([], [], [])
    for number, document in enumerate(rows):
        ngrams = classifier.features(document, options.features)
        for name in Examples._fields:
            label = weak_labels[name][number]
            if label is not None and len(ngrams):
                features = quality.features(document, options.features) if name == "quality" else ngrams
                getattr(examples, name).append(LabelledDocument(document["id"], document["source"], label, features))
        if weak_labels["quality"][number] == "positive":
            menu = layout.shuffled_menu(document, options.features.characters)
            if menu is not None and len(ngrams):
                features = quality.features(menu, options.features)
                examples.quality.append(LabelledDocument(document["id"], "shuffled", "negative", features))
    return examples


def score_shard(shard: Shard) -> ShardScores:
    """Scores one file. The result depends on its documents and the models only."""
    options = shard.options
    domain_sources = options.bucket.sources_by_domain()
    quality_model, judge_model, domain_model = (shard.models[name] for name in Examples._fields)
    scores = ShardScores([], ScoreHistogram(), [])
    rows = documents.read_documents(shard.source)
    for document in rows:
        features = classifier.features(document, options.features)
        inputs = (quality.features(document, options.features), features, features)
        models = (quality_model, judge_model, domain_model)
        probabilities = [model.predict_proba(document["id"], each) for model, each in zip(models, inputs, strict=True)]
        score = float(probabilities[0][quality_model.classes.index("positive")])
        domain = bucket.most_likely_domain(domain_model.classes, probabilities[2])
        if not bucket.looks_like_domain(document, domain):
            domain = "general"
        document |= {
            "quality": score,
            "judged": float(probabilities[1][judge_model.classes.index("approved")]),
            "domain": domain,
            "bucket": bucket.assign_bucket(document, domain, options.bucket),
        }
        scores.histogram.add_score(document["language"], score)
        if document["url"] in labels.load_labels() and not document["planted_from"]:
            kind = "code" if document["media"] == "code" else bucket.BUCKET_OF_DOMAIN[domain]
            text = document["text"]
            page = (document["url"], document["source"], labels.text_hash(text), len(text), score, kind)
            scores.pages.append(labels.ScoredPage(*page))
        weak_labels = {
            "quality": quality.weak_label(document),
            "bucket": weak_label(document["source"], domain_sources),
        }
        if options.judge.kind == "rules":
            weak_labels["judge"] = "approved" if judge.is_approved_by_rules(document) else "refused"
        for number, kind in enumerate(Examples._fields):
            if label := weak_labels.get(kind):
                scores.labelled.append((document["id"], kind, label, tuple(probabilities[number].tolist())))
    documents.write_documents(shard.output, rows, CLASSIFIED)
    return scores


def select_shard(work: Selection) -> SelectionResult:
    """Adds the percentile to the documents of one scored file, and drops those of low quality, in place."""
    result = SelectionResult(FilterStats(), [], Counter())

    def rule(document: documents.Document) -> Removal | None:
        document["rank"] = percentile(work.percentiles, document["language"], document["quality"])
        removal = low_quality(document, work.options, work.min_approval)
        if removal:
            result.dropped[document["source"]] += 1
        return removal

    kept = list(documents.filter_documents(documents.read_documents(work.path), rule, result.stats))
    documents.write_documents(work.path, kept, CLASSIFIED)
    names = ("source", "language", "domain", "bucket")
    result.kept.extend((*(row[name] for name in names), documents.num_bytes(row["text"])) for row in kept)
    return result


def low_quality(document: documents.Document, options: quality.Quality, min_approval: float) -> Removal | None:
    """Why the quality of a scored document is too low, or None; pages of generated tasks are never dropped."""
    if documents.is_generated(document["source"]):
        return None
    if document["bucket"] in options.buckets and document["media"] != "code":
        if document["quality"] < options.threshold:
            return Removal("quality", "low score")
        if document["judged"] < min_approval:
            return Removal("judge", "low score")
    if document["bucket"] == "multilingual" and document["rank"] < options.lowest:
        return Removal("ranking", "low in its language")
    return None


def _binary_metrics(
    scored: Sequence[tuple[str, str, str, tuple[float, ...]]], name: str, model: Model
) -> dict[str, Any]:
    """ROC metrics of a binary classifier on labelled documents that it was not trained on."""
    positive_label = {"quality": "positive", "judge": "approved"}[name]
    rows = sorted(row for row in scored if row[1] == name)
    scores = np.array([row[3][model.classes.index(positive_label)] for row in rows])
    positive = np.array([row[2] == positive_label for row in rows], bool)
    return {
        "auc": roc_auc(scores, positive),
        "roc": classifier.roc_curve(scores, positive),
        "positive": int(positive.sum()),
        "negative": int((~positive).sum()),
    }


def _domain_metrics(scored: Sequence[tuple[str, str, str, tuple[float, ...]]], classes: list[str]) -> dict[str, Any]:
    """Confusion matrix of the domain classifier on labelled documents, and the area under the ROC curve per class."""
    rows = sorted(row for row in scored if row[1] == "bucket")
    table = np.array([row[3] for row in rows])
    pairs = Counter((row[2], bucket.most_likely_domain(classes, np.array(row[3]))) for row in rows)
    return {
        "confusion": {true: {name: pairs[true, name] for name in classes} for true in classes},
        "auc": {
            name: roc_auc(table[:, column], np.array([row[2] == name for row in rows]))
            for column, name in enumerate(classes)
        },
    }


def _sizes_by_column(
    kept: Sequence[tuple[str, str, str, str, int]], column: int, names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Documents and bytes by domain (column 2) or bucket (3)."""
    chosen = {name: [row for row in kept if row[column] == name] for name in names}
    return {name: {"documents": len(rows), "bytes": sum(row[4] for row in rows)} for name, rows in chosen.items()}


def _counts_by_source(
    kept: Sequence[tuple[str, str, str, str, int]], dropped: Counter[str]
) -> dict[str, dict[str, int]]:
    counts = Counter((source, name) for source, _, _, name, _ in kept)
    counts.update({(source, "dropped"): number for source, number in dropped.items()})
    found: dict[str, dict[str, int]] = {}
    for (source, name), number in sorted(counts.items()):
        found.setdefault(source, {})[name] = number
    return found
