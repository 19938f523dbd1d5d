"""Gives each document its quality and its bucket, and drops those of low quality (paper 3.1.1, 3.1.2)."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from stages.curation import bucket, classifier, documents, quality
from stages.curation.documents import CLASSIFIED, Account, Cut
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("quality",)


class Classify(Section):
    """Classification of documents."""

    features: classifier.Features

    quality: quality.Quality

    bucket: bucket.Bucket


@dataclass(frozen=True)
class Config:
    classify: Annotated[Classify, "curation.classify"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `documents`, writes them with quality and bucket."""
    options = config.classify
    files = documents.shards(inputs["documents"])
    table = [document for path in files for document in documents.read(path)]
    context.progress("classify", 0, 3)
    matrix = classifier.features(table, options.features)
    context.progress("classify", 1, 3)
    buckets, bucket_metrics = bucket.assign(matrix, table, options.bucket, options.features)
    context.progress("classify", 2, 3)
    scores, quality_metrics = quality.score(matrix, table, options.quality, options.features)
    context.progress("classify", 3, 3)

    account, kept = Account(), []
    by_source: dict[str, Counter[str]] = {}
    for document, score, name in zip(table, scores.tolist(), buckets, strict=True):
        account.take(document)
        document |= {"quality": score, "bucket": name}
        if name in options.quality.buckets and score < options.quality.threshold:
            account.cut(document, Cut("quality", "low score"))
            by_source.setdefault(document["source"], Counter())["dropped"] += 1
            continue
        account.keep(document)
        kept.append(document)
        by_source.setdefault(document["source"], Counter())[name] += 1
    if not kept:
        raise StageError("curation.classify: nothing left; lower curation.classify.quality.threshold")
    documents.write_sharded(outputs["documents"], kept, len(files), CLASSIFIED)
    account.write(outputs["documents"])
    sizes, numbers = Counter[str](), Counter[str]()
    for document in kept:
        sizes[document["bucket"]] += documents.size(document["text"])
        numbers[document["bucket"]] += 1
    metrics = account.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "buckets": {name: {"documents": numbers[name], "bytes": sizes[name]} for name in bucket.BUCKETS},
        "languages": dict(sorted(Counter(document["language"] for document in kept).items())),
        "sources": {name: dict(sorted(counts.items())) for name, counts in sorted(by_source.items())},
        "classifier": bucket_metrics,
        "quality": quality_metrics,
    }
