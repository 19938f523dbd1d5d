"""Pages to text: the main content of HTML, with paragraphs, lists, tables, code and formulas, without boilerplate
and without markdown markers (paper 3.1.1). Resiliparse does the tree work; `html.py` is what the paper adds.

Addresses that no one should learn from are refused before their pages are parsed. Each text gets its language, because
what follows works within a language.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from stages.curation import documents
from stages.curation.documents import Account, Cut, Document
from stages.curation.extraction import blocklist, html, language
from stages.curation.pages import warc
from stages.curation.pages.url import host, refuse
from stages.curation.pages.warc import Response
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("url", "blocklist", "extraction")


class Extract(Section):
    """What is read, and limits of extraction."""

    url_length: Annotated[int, Field(ge=10)]
    """Longest URL, in characters (assumption)."""

    blocked: list[str]
    """Domains blocked besides the list of 4.56M (assumption)."""

    page_bytes: Annotated[int, Field(ge=1)]
    """Pages of more bytes are skipped (assumption: no article is that long, a broken or hostile page may be)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters of text are skipped as empty (assumption)."""

    language_characters: Annotated[int, Field(ge=20)]
    """Characters that the language identification looks at (assumption)."""


@dataclass(frozen=True)
class Config:
    extract: Annotated[Extract, "curation.extract"]


class Shard(NamedTuple):
    """One WARC file to read and the document file to write."""

    warc: Path
    output: Path
    blocked: Path
    limits: Extract


class Outcome(NamedTuple):
    """The account of a shard, and its documents by media and by language."""

    account: Account
    media: Counter[str]
    languages: Counter[str]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `warc` (*.warc.gz), writes `documents`, one file per WARC file.

    A bad record or file is counted by reason and never stops the stage.
    """
    files = sorted(inputs["warc"].glob("*.warc.gz"))
    if not files:
        raise StageError(f"{inputs['warc']}: no *.warc.gz in it; run acquire")
    blocked = blocklist.prepare()
    work = [
        Shard(file, outputs["documents"] / documents.name(n), blocked, config.extract) for n, file in enumerate(files)
    ]
    account, media, languages = Account(), Counter[str](), Counter[str]()
    for outcome in context.map("extract", extract_shard, work, kind="process"):
        account.merge(outcome.account)
        media.update(outcome.media)
        languages.update(outcome.languages)
    metrics = account.metrics(STEPS)
    if not account.documents_out:
        raise StageError(f"{inputs['warc']}: no document could be extracted ({metrics['funnel']})")
    account.write(outputs["documents"])
    context.table("funnel", metrics["funnel"])
    return metrics | {"media": dict(sorted(media.items())), "languages": dict(sorted(languages.items()))}


def extract_shard(shard: Shard) -> Outcome:
    """Extracts one WARC file; documents are sorted by id."""
    account = Account()
    blocked = blocklist.Blocklist(shard.blocked, shard.limits.blocked)
    kept: dict[str, Document] = {}
    with shard.warc.open("rb") as stream:
        for response in warc.responses(stream, shard.limits.page_bytes):
            account.documents_in += 1
            if isinstance(response, str):
                account.count(Cut("extraction", response), 1, 0)
                continue
            outcome = _document(response, blocked, shard.limits)
            if not isinstance(outcome, Cut) and outcome["id"] in kept:
                outcome = Cut("extraction", "same record")
            if isinstance(outcome, Cut):
                name = hashlib.sha256(f"{response.url}\n{response.date}".encode()).hexdigest()[:16]
                account.cut({"id": name, "url": response.url, "text": ""}, outcome)
            else:
                kept[outcome["id"]] = outcome
    rows = [kept[identity] for identity in sorted(kept)]
    for row, (code, certainty) in zip(rows, language.identify(rows, shard.limits.language_characters), strict=True):
        row |= {"language": code, "language_score": certainty}
        account.keep(row)
    documents.write(shard.output, rows)
    return Outcome(account, Counter(row["media"] for row in rows), Counter(row["language"] for row in rows))


def _document(response: Response, blocked: blocklist.Blocklist, limits: Extract) -> Document | Cut:
    if reason := refuse(response.url, limits.url_length):
        return Cut("url", reason)
    site = host(response.url)
    if site in blocked:
        return Cut("blocklist", "domain")
    result = html.decode(response.body, response.content_type)
    if isinstance(result, str):
        return Cut("extraction", result)
    media, text, code = result
    if len(text) < limits.characters:
        return Cut("extraction", "empty")
    return {
        "id": hashlib.sha256(f"{response.url}\n{response.date}\n{text}".encode()).hexdigest()[:16],
        "url": response.url,
        "host": site,
        "date": response.date,
        "source": response.headers.get("WARC-Source") or "crawl",
        "media": media,
        "planted_from": response.headers.get("WARC-Planted-From"),
        "text": text,
        "code": code,
    }
