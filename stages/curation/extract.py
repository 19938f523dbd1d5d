"""Extracts the main content of web pages: paragraphs, lists, tables, code and formulas, without boilerplate and without
Markdown markers (paper 3.1.1). Resiliparse parses and extracts; `html.py` adds what the paper describes.

URLs on the block list are rejected before their pages are parsed. Each text gets its language, because later steps work
within a language.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import documents
from stages.curation.documents import Document, FilterStats, Removal
from stages.curation.extraction import blocklist, html, language
from stages.curation.pages import warc
from stages.curation.pages.url import host_of, rejection_reason
from stages.curation.pages.warc import Response
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("url", "blocklist", "extraction")


class Extract(Section):
    """Limits of extraction, and blocked domains."""

    url_length: Annotated[int, Field(ge=10)]
    """Longest URL, in characters (assumption)."""

    blocked: list[str]
    """Domains blocked in addition to the list of 4.56M (assumption)."""

    page_bytes: Annotated[int, Field(ge=1)]
    """Longer pages are skipped (assumption: no article is that long)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters of text are skipped as empty (assumption)."""

    language_characters: Annotated[int, Field(ge=20)]
    """Characters used for language identification (assumption)."""


@dataclass(frozen=True)
class Config:
    extract: Annotated[Extract, "curation.extract"]


class Shard(NamedTuple):
    """One WARC file to read and the document file to write."""

    warc: Path
    output: Path
    blocked: Path
    limits: Extract


class ShardResult(NamedTuple):
    """Statistics of a shard, and its number of documents by media and by language."""

    stats: FilterStats
    media: Counter[str]
    languages: Counter[str]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `warc` (*.warc.gz), writes `documents`, one file per WARC file.

    Bad records and files are counted by reason and do not stop the stage.
    """
    files = sorted(inputs["warc"].glob("*.warc.gz"))
    if not files:
        raise StageError(f"{inputs['warc']}: no *.warc.gz; run acquire")
    blocked = blocklist.prepare()
    work = [
        Shard(file, outputs["documents"] / documents.file_name(number), blocked, config.extract)
        for number, file in enumerate(files)
    ]
    stats, media, languages = FilterStats(), Counter[str](), Counter[str]()
    for outcome in context.map("extract", extract_shard, work, kind="process"):
        stats.merge(outcome.stats)
        media.update(outcome.media)
        languages.update(outcome.languages)
    metrics = stats.metrics(STEPS)
    if not stats.documents_out:
        raise StageError(f"{inputs['warc']}: no document was extracted ({metrics['funnel']})")
    stats.write(outputs["documents"])
    context.table("funnel", metrics["funnel"])
    return metrics | {"media": dict(sorted(media.items())), "languages": dict(sorted(languages.items()))}


def extract_shard(shard: Shard) -> ShardResult:
    """Extracts one WARC file; documents are sorted by id."""
    stats = FilterStats()
    blocked = blocklist.Blocklist(shard.blocked, shard.limits.blocked)
    kept: dict[str, Document] = {}
    with shard.warc.open("rb") as stream:
        for response in warc.read_responses(stream, shard.limits.page_bytes):
            stats.documents_in += 1
            if isinstance(response, str):
                stats.add_removed(Removal("extraction", response), 1, 0)
                continue
            outcome = _extract_document(response, blocked, shard.limits)
            if not isinstance(outcome, Removal) and outcome["id"] in kept:
                outcome = Removal("extraction", "same record")
            if isinstance(outcome, Removal):
                name = hashlib.sha256(f"{response.url}\n{response.date}".encode()).hexdigest()[:16]
                stats.count_removed({"id": name, "url": response.url, "text": ""}, outcome)
            else:
                kept[outcome["id"]] = outcome
    kept_documents = [kept[identity] for identity in sorted(kept)]
    languages = language.identify(kept_documents, shard.limits.language_characters)
    for document, (code, score) in zip(kept_documents, languages, strict=True):
        document |= {"language": code, "language_score": score}
        stats.count_out(document)
    documents.write_documents(shard.output, kept_documents)
    media, codes = (Counter(document[column] for document in kept_documents) for column in ("media", "language"))
    return ShardResult(stats, media, codes)


def _extract_document(response: Response, blocked: blocklist.Blocklist, limits: Extract) -> Document | Removal:
    if reason := rejection_reason(response.url, limits.url_length):
        return Removal("url", reason)
    host = host_of(response.url)
    if host in blocked:
        return Removal("blocklist", "domain")
    result = html.extract_page(response.body, response.content_type)
    if isinstance(result, str):
        return Removal("extraction", result)
    media, text, code = result
    if len(text) < limits.characters:
        return Removal("extraction", "empty")
    return {
        "id": hashlib.sha256(f"{response.url}\n{response.date}\n{text}".encode()).hexdigest()[:16],
        "url": response.url,
        "host": host,
        "date": response.date,
        "source": response.headers.get("WARC-Source") or "crawl",
        "media": media,
        "planted_from": response.headers.get("WARC-Planted-From"),
        "text": text,
        "code": code,
    }
