"""Drops addresses, sites and pages not to learn from, and masks personal data (paper 3.1.1).

Steps, in this order: url, blocklist, pii, heuristics. Each keeps a document or gives a reason; what was removed
stays readable in removed.parquet.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import blocklist, documents, heuristics, pii, url
from stages.curation.documents import Account, Cut, Document
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("url", "blocklist", "pii", "heuristics")


class Filter(Section):
    """What is kept (3.1.1)."""

    url_length: Annotated[int, Field(ge=10)]
    """Longest URL, in characters (assumption)."""

    blocked: list[str]
    """Domains blocked besides the list of 4.56M (assumption)."""

    pii_count: Annotated[int, Field(ge=0)]
    """Documents with more pieces of personal data than this may be dropped (assumption)."""

    pii_density: Annotated[float, Field(ge=0)]
    """... if there are also more than this many per 1,000 words (assumption; the paper drops sites high in PII)."""

    heuristics: heuristics.Heuristics


@dataclass(frozen=True)
class Config:
    filter: Annotated[Filter, "curation.filter"]


class Shard(NamedTuple):
    """One document file to read, and the one to write."""

    source: Path
    output: Path
    blocked: Path
    rules: Filter


class Outcome(NamedTuple):
    """The account of one shard and the pieces of personal data masked in kept documents."""

    account: Account
    masked: dict[str, int]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file."""
    blocked = blocklist.prepare()
    files = documents.shards(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, blocked, config.filter) for file in files]
    account, masked = Account(), Counter[str]()
    for outcome in context.map("filter", filter_shard, work, kind="process"):
        account.merge(outcome.account)
        masked.update(outcome.masked)
    if not account.documents_out:
        raise StageError(f"curation.filter: nothing left of {account.documents_in} documents; loosen curation.filter")
    account.write(outputs["documents"])
    metrics = account.metrics(STEPS) | {"masked": dict(sorted(masked.items()))}
    context.table("funnel", metrics["funnel"])
    return metrics


def filter_shard(shard: Shard) -> Outcome:
    """Filters one file; its result depends on nothing else."""
    account, masked = Account(), Counter[str]()
    blocked = blocklist.Blocklist(shard.blocked, shard.rules.blocked)
    rules = shard.rules

    def judge(document: Document) -> Cut | None:
        if reason := url.refuse(document["url"], rules.url_length):
            return Cut("url", reason)
        if document["host"] in blocked:
            return Cut("blocklist", "domain")
        clean = pii.mask(document["text"])
        number = sum(clean.found.values())
        if number > rules.pii_count and number * 1000 > rules.pii_density * len(clean.text.split()):
            return Cut("pii", "density")
        if reason := heuristics.judge(document, rules.heuristics):
            return Cut("heuristics", reason)
        document["text"] = clean.text
        masked.update(clean.found)
        return None

    kept = documents.keep_or_cut(documents.read(shard.source), judge, account)
    documents.write(shard.output, kept)
    return Outcome(account, dict(masked))
