"""Masks personal data, and drops documents and whole sites with too much of it (paper 3.1.1, PII)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import documents, personal_data
from stages.curation.documents import Document, FilterStats, Removal
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("document", "host")


class Pii(Section):
    """Limits on personal data in documents and sites."""

    count: Annotated[int, Field(ge=0)]
    """Documents with more pieces of personal data than this may be dropped (assumption)."""

    density: Annotated[float, Field(ge=0)]
    """... if there are also more than this many per 1,000 words (assumption)."""

    host_documents: Annotated[int, Field(ge=1)]
    """Sites with fewer documents are not dropped as a whole (assumption)."""

    host_share: Annotated[float, Field(gt=0, le=1)]
    """A site is dropped if at least this share of its documents is dropped (assumption; the paper drops domains "known
    to contain high amounts of PII" without a number)."""


@dataclass(frozen=True)
class Config:
    pii: Annotated[Pii, "curation.pii"]


class Shard(NamedTuple):
    """One document file to read, and the one to write."""

    source: Path
    output: Path
    rules: Pii


class ShardResult(NamedTuple):
    """Statistics of one shard, pieces masked in kept documents, and documents read and dropped by site."""

    stats: FilterStats
    masked: Counter[str]
    seen: Counter[str]
    dropped: Counter[str]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file; files with documents of a dropped site are rewritten."""
    rules = config.pii
    files = documents.document_files(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, rules) for file in files]
    stats, masked = FilterStats(), Counter[str]()
    seen, dropped = Counter[str](), Counter[str]()
    results = context.map("mask", mask_shard, work, kind="process")
    for result in results:
        stats.merge(result.stats)
        masked.update(result.masked)
        seen.update(result.seen)
        dropped.update(result.dropped)
    dropped_hosts = {
        host
        for host, count in dropped.items()
        if seen[host] >= rules.host_documents and count >= rules.host_share * seen[host]
    }

    def rule(row: int, document: Document) -> Removal | None:
        return Removal("host", "site high in personal data") if document["host"] in dropped_hosts else None

    for shard, result in zip(work, results, strict=True):
        if any(result.seen[host] > result.dropped[host] for host in dropped_hosts):
            documents.remove_from_file(shard.output, rule, stats)
    if not stats.documents_out:
        raise StageError(f"curation.pii: nothing left of {stats.documents_in} documents; loosen curation.pii")
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS) | {"masked": dict(sorted(masked.items())), "hosts": len(dropped_hosts)}
    context.table("funnel", metrics["funnel"])
    return metrics


def mask_shard(shard: Shard) -> ShardResult:
    """Masks one file, and drops documents with too much personal data."""
    result = ShardResult(FilterStats(), Counter(), Counter(), Counter())
    rules = shard.rules

    def rule(document: Document) -> Removal | None:
        masked = personal_data.mask(document["text"])
        result.seen[document["host"]] += 1
        number = sum(masked.found.values())
        if number > rules.count and number * 1000 > rules.density * len(masked.text.split()):
            result.dropped[document["host"]] += 1
            return Removal("document", "density")
        document["text"] = masked.text
        result.masked.update(masked.found)
        return None

    kept = documents.filter_documents(documents.read_documents(shard.source), rule, result.stats)
    documents.write_documents(shard.output, kept)
    return result
