"""Pages to text: the main content of HTML, with paragraphs, lists, tables, code and formulas, without boilerplate
and without markdown markers (paper 3.1.1). Resiliparse does the tree work; `html.py` is what the paper adds.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import documents, html, warc
from stages.curation.documents import Document
from stages.curation.url import host
from stages.curation.warc import Response
from stages.interface import Context, Metrics, Paths, Section, StageError


class Extract(Section):
    """Limits of extraction."""

    page_bytes: Annotated[int, Field(ge=1)]
    """Pages of more bytes are skipped (assumption: no article is that long, a broken or hostile page may be)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters of text are skipped as empty (assumption)."""


@dataclass(frozen=True)
class Config:
    extract: Annotated[Extract, "curation.extract"]


class Shard(NamedTuple):
    """One WARC file to read and the document file to write."""

    warc: Path
    output: Path
    limits: Extract


class Outcome(NamedTuple):
    """What became of the records of a shard."""

    skipped: dict[str, int]
    kept: dict[str, int]
    bytes: int


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `warc` (*.warc.gz), writes `documents`, one file per WARC file.

    A bad record or file is counted by reason and never stops the stage.
    """
    files = sorted(inputs["warc"].glob("*.warc.gz"))
    if not files:
        raise StageError(f"{inputs['warc']}: no *.warc.gz in it; run acquire")
    work = [Shard(file, outputs["documents"] / documents.name(n), config.extract) for n, file in enumerate(files)]
    outcomes = context.map("extract", extract_shard, work, kind="process")
    skipped: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for outcome in outcomes:
        skipped.update(outcome.skipped)
        kept.update(outcome.kept)
    if not kept:
        raise StageError(f"{inputs['warc']}: no document could be extracted ({dict(skipped)})")
    context.table("skipped", [{"reason": reason, "records": count} for reason, count in sorted(skipped.items())])
    return {
        "records": kept.total() + skipped.total(),
        "documents_out": kept.total(),
        "bytes_out": sum(outcome.bytes for outcome in outcomes),
        "media": dict(sorted(kept.items())),
        "skipped": dict(sorted(skipped.items())),
    }


def extract_shard(shard: Shard) -> Outcome:
    """Extracts one WARC file; documents are sorted by id."""
    skipped: Counter[str] = Counter()
    kept: dict[str, Document] = {}
    with shard.warc.open("rb") as stream:
        for response in warc.responses(stream, shard.limits.page_bytes):
            outcome = response if isinstance(response, str) else _document(response, shard.limits)
            if isinstance(outcome, str):
                skipped[outcome] += 1
            elif outcome["id"] in kept:
                skipped["same record"] += 1
            else:
                kept[outcome["id"]] = outcome
    rows = [kept[identity] for identity in sorted(kept)]
    documents.write(shard.output, rows)
    counts = Counter(str(row["media"]) for row in rows)
    return Outcome(dict(skipped), dict(counts), sum(documents.size(row["text"]) for row in rows))


def _document(response: Response, limits: Extract) -> Document | str:
    result = html.decode(response.body, response.content_type)
    if isinstance(result, str):
        return result
    media, text, code = result
    if len(text) < limits.characters:
        return "empty"
    return {
        "id": hashlib.sha256(f"{response.url}\n{response.date}\n{text}".encode()).hexdigest()[:16],
        "url": response.url,
        "host": host(response.url),
        "date": response.date,
        "source": response.headers.get("WARC-Source") or "crawl",
        "media": media,
        "planted_from": response.headers.get("WARC-Planted-From"),
        "text": text,
        "code": code,
    }
