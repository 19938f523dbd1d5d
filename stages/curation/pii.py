"""Masks personal data, and drops documents and whole sites that are full of it (paper 3.1.1, PII)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import documents, personal_data
from stages.curation.documents import Account, Cut
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("document", "host")


class Pii(Section):
    """When there is too much personal data to mask."""

    count: Annotated[int, Field(ge=0)]
    """Documents with more pieces of personal data than this may be dropped (assumption)."""

    density: Annotated[float, Field(ge=0)]
    """... if there are also more than this many per 1,000 words (assumption)."""

    host_documents: Annotated[int, Field(ge=1)]
    """Sites of fewer documents are not judged as a whole (assumption)."""

    host_share: Annotated[float, Field(gt=0, le=1)]
    """Share of a site's documents dropped for their personal data from which on the rest goes as well (assumption; the
    paper drops domains "known to contain high amounts of PII" without a number)."""


@dataclass(frozen=True)
class Config:
    pii: Annotated[Pii, "curation.pii"]


class Shard(NamedTuple):
    """One document file to read, and the one to write."""

    source: Path
    output: Path
    rules: Pii


class Outcome(NamedTuple):
    """The account of one shard, the pieces masked in kept documents, and by site the documents and those dropped."""

    account: Account
    masked: Counter[str]
    seen: Counter[str]
    dropped: Counter[str]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file; files that hold documents of a dropped site are written twice."""
    rules = config.pii
    files = documents.shards(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, rules) for file in files]
    account, masked = Account(), Counter[str]()
    seen, dropped = Counter[str](), Counter[str]()
    outcomes = context.map("mask", mask_shard, work, kind="process")
    for outcome in outcomes:
        account.merge(outcome.account)
        masked.update(outcome.masked)
        seen.update(outcome.seen)
        dropped.update(outcome.dropped)
    hosts = {
        host
        for host, count in dropped.items()
        if seen[host] >= rules.host_documents and count >= rules.host_share * seen[host]
    }
    high = Cut("host", "site high in personal data")
    for shard, outcome in zip(work, outcomes, strict=True):
        if any(outcome.seen[host] > outcome.dropped[host] for host in hosts):
            documents.rewrite(shard.output, lambda _, document: high if document["host"] in hosts else None, account)
    if not account.documents_out:
        raise StageError(f"curation.pii: nothing left of {account.documents_in} documents; loosen curation.pii")
    account.write(outputs["documents"])
    metrics = account.metrics(STEPS) | {"masked": dict(sorted(masked.items())), "hosts": len(hosts)}
    context.table("funnel", metrics["funnel"])
    return metrics


def mask_shard(shard: Shard) -> Outcome:
    """Masks one file and drops what has too much to mask."""
    outcome = Outcome(Account(), Counter(), Counter(), Counter())
    rules = shard.rules

    def judge(document: documents.Document) -> Cut | None:
        clean = personal_data.mask(document["text"])
        outcome.seen[document["host"]] += 1
        number = sum(clean.found.values())
        if number > rules.count and number * 1000 > rules.density * len(clean.text.split()):
            outcome.dropped[document["host"]] += 1
            return Cut("document", "density")
        document["text"] = clean.text
        outcome.masked.update(clean.found)
        return None

    kept = documents.keep_or_cut(documents.read(shard.source), judge, outcome.account)
    documents.write(shard.output, kept)
    return outcome
