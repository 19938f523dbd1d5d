"""Pages to text: the main content of HTML, with paragraphs, lists, tables, code and formulas, without boilerplate
and without markdown markers (paper 3.1.1). Resiliparse does the tree work; `html.py` is what the paper adds.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from stages.curation import documents, html
from stages.curation.documents import Document
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
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    skipped: Counter[str] = Counter()
    kept: dict[str, Document] = {}
    try:
        with shard.warc.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, auto_decode="all"):
                if record.content_length > shard.limits.page_bytes:
                    skipped["too large"] += 1
                    continue
                headers = record.headers
                http = record.http_headers
                url, date = headers.get("WARC-Target-URI") or "", headers.get("WARC-Date") or ""
                result = html.decode(record.reader.read(), (http.get("Content-Type") or "") if http else "")
                if isinstance(result, str):
                    skipped[result] += 1
                    continue
                media, text, code = result
                if len(text) < shard.limits.characters:
                    skipped["empty"] += 1
                    continue
                identity = hashlib.sha256(f"{url}\n{date}\n{text}".encode()).hexdigest()[:16]
                if identity in kept:
                    skipped["same record"] += 1
                kept[identity] = {
                    "id": identity,
                    "url": url,
                    "host": urlsplit(url).hostname or "",
                    "date": date,
                    "source": headers.get("WARC-Source") or "crawl",
                    "media": media,
                    "planted_from": headers.get("WARC-Planted-From"),
                    "text": text,
                    "code": code,
                }
    except (OSError, EOFError, ValueError) as error:
        skipped[f"broken file: {type(error).__name__}"] += 1
    rows = [kept[identity] for identity in sorted(kept)]
    documents.write(shard.output, rows)
    media = Counter(row["media"] for row in rows)
    return Outcome(dict(skipped), dict(media), sum(documents.size(row["text"]) for row in rows))
