"""Collects the raw pages of a run as gzip WARC files: archives of real pages, generated pages, the user's own crawls.

Every page becomes one response record, so that what follows is the code that runs on a real crawl (paper 3.1.1).
"""

import hashlib
import random
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from stages.curation.extract import Extract
from stages.curation.pages import archives, warc
from stages.curation.pages.sources import SOURCES, Page, select
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tasks import REGISTRY, source_name
from stages.tasks.pages import pages as task_pages


class Planted(Section):
    """Copies of pages made on purpose, so that the quality of deduplication can be measured; a header labels them."""

    share: Annotated[float, Field(ge=0, le=0.5)]
    """Planted copies per page, of all pages (assumption; 3.1.1 gives no such figure)."""

    recrawled: Annotated[float, Field(ge=0, le=1)]
    """Share of the copies that keep their URL, with tracking parameters added, unedited (assumption)."""

    edits: list[Annotated[float, Field(ge=0, le=1)]]
    """Share of words changed in a copy on another host; copies take these values in turn (assumption)."""


class Acquire(Section):
    """Where raw pages come from (3.1.1)."""

    sources: dict[str, Annotated[float, Field(gt=0)]]
    """Source -> most MB of page bytes to take of it. The paper uses a web crawl of its own (assumption)."""

    generated: dict[str, Annotated[int, Field(ge=0)]]
    """Task -> number of generated pages: the skills that a toy model can learn, as web pages (assumption)."""

    warc: list[str]
    """Paths, URLs or globs of WARC files of the user's own, read through fsspec: s3, https, local (assumption)."""

    shards: Annotated[int, Field(ge=1)]
    """Number of WARC files written; the unit of parallel work in extraction and filtering (assumption)."""

    planted: Planted


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    acquire: Annotated[Acquire, "curation.acquire"]
    extract: Annotated[Extract, "curation.extract"]


class Record(NamedTuple):
    """A page, where it came from, and which page it is a planted copy of."""

    page: Page
    source: str
    planted_from: str = ""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Writes `warc`: pages-00000.warc.gz, ...; the same parameters give the same bytes.

    Raises StageError when a source or task is unknown, an archive cannot be had, or a WARC file cannot be opened.
    """
    problems: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    size: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    plan = config.acquire.planted
    generator = random.Random(f"{config.seed} planted")
    files = [(outputs["warc"] / f"pages-{shard:05d}.warc.gz").open("wb") for shard in range(config.acquire.shards)]
    try:
        for record in _records(config, context, problems):
            pages[record.source] += 1
            size[record.source] += len(record.page.body)
            _append(files, record)
            if generator.random() < plan.share:
                copy = _plant(record, plan, planted.total(), generator)
                planted["recrawled" if copy.page.body == record.page.body else "edited"] += 1
                _append(files, copy)
    finally:
        for file in files:
            file.close()
    if not pages:
        raise StageError("curation.acquire: no page at all; name sources, generated tasks or WARC files")
    rows = [{"source": name, "pages": pages[name], "bytes": size[name]} for name in sorted(pages)]
    context.table("pages by source", rows)
    return {
        "pages": pages.total(),
        "bytes": size.total(),
        "planted": {kind: planted[kind] for kind in ("recrawled", "edited")},
        "sources": {row["source"]: {"pages": row["pages"], "bytes": row["bytes"]} for row in rows},
        "unreadable": dict(sorted(problems.items())),
    }


def _records(config: Config, context: Context, problems: Counter[str]) -> Iterator[Record]:
    wanted = config.acquire
    if unknown := sorted(set(wanted.sources) - set(SOURCES)):
        raise StageError(
            f"curation.acquire.sources: {', '.join(unknown)} unknown; known are {', '.join(sorted(SOURCES))}"
        )
    packages = sorted({SOURCES[name][0] for name in wanted.sources})

    def report(name: str, done: int, total: int) -> None:
        context.progress(f"download {name}", done, total or done)

    found = archives.fetch_all(packages, report)
    steps = len(wanted.sources) + len(wanted.generated) + len(wanted.warc)
    done = 0
    for name, megabytes in sorted(wanted.sources.items()):
        package, reader = SOURCES[name]
        for page in select(reader(found[package]), megabytes):
            yield Record(page, name)
        context.progress("pages", done := done + 1, steps)
    for task, count in sorted(wanted.generated.items()):
        for page in _generated(task, count, config.seed):
            yield Record(page, source_name(task))
        context.progress("pages", done := done + 1, steps)
    for pattern in wanted.warc:
        for page in _crawled(pattern, config.extract.page_bytes, problems):
            yield Record(page, "crawl")
        context.progress("pages", done := done + 1, steps)


def _generated(task: str, count: int, seed: int) -> Iterator[Page]:
    if task not in REGISTRY:
        raise StageError(f"curation.acquire.generated: {task} unknown; known are {', '.join(REGISTRY)}")
    for page in task_pages(task, count, seed):
        yield Page(*page)


def _crawled(pattern: str, largest: int, problems: Counter[str]) -> Iterator[Page]:
    """Response records of the user's WARC files; a file that breaks off is counted, and the next one goes on."""
    import fsspec

    try:
        files = sorted(fsspec.open_files(pattern, "rb"), key=lambda file: str(file.path))
    except ImportError as error:
        hint = "pip install s3fs" if pattern.startswith(("s3://", "s3a://")) else "install what it names"
        raise StageError(f"curation.acquire.warc: {pattern}: {error}; {hint}, or name other files") from None
    except (OSError, ValueError) as error:
        raise StageError(f"curation.acquire.warc: {pattern}: {error}") from None
    if not files:
        raise StageError(f"curation.acquire.warc: {pattern}: no file matches")
    for file in files:
        try:
            with file as stream:
                for found in warc.responses(stream, largest):
                    if isinstance(found, str):
                        problems[found] += 1
                    else:
                        yield Page(found.url, found.date, found.content_type, found.body)
        except FileNotFoundError:
            raise StageError(f"curation.acquire.warc: {file.path}: not found") from None


def _plant(record: Record, plan: Planted, number: int, generator: random.Random) -> Record:
    """A later copy of a page: on another host with edits, or under the same URL with tracking parameters."""
    page = record.page
    date = f"{int(page.date[:4]) + 1:04d}{page.date[4:]}"
    if generator.random() < plan.recrawled:
        url = f"{page.url}{'&' if '?' in page.url else '?'}utm_source=feed&utm_campaign={number}"
        return Record(Page(url, date, page.content_type, page.body), record.source, page.url)
    parts = urlsplit(page.url)
    url = f"https://mirror{number}.example/{parts.netloc}{parts.path}"
    body = _edit(page, plan.edits[number % len(plan.edits)], generator)
    return Record(Page(url, date, page.content_type, body), record.source, page.url)


def _edit(page: Page, rate: float, generator: random.Random) -> bytes:
    """The page with a share of its visible words replaced by another word of the page, dropped or doubled."""
    # Latin-1 maps bytes to characters one to one, so any charset survives; only ASCII words are touched.
    text = page.body.decode("latin-1")
    pattern = r"<(script|style|head)\b.*?</\1>|<[^>]*>|(?<![\w&;#\x80-\xff])[A-Za-z]{2,}(?![\w;\x80-\xff])"
    words = [match[0] for match in re.finditer(pattern, text, re.DOTALL | re.IGNORECASE) if match[0][0] != "<"]

    def change(match: re.Match[str]) -> str:
        if match[0][0] == "<" or generator.random() >= rate:
            return match[0]
        return generator.choice(["", f"{match[0]} {match[0]}", generator.choice(words)])

    return re.sub(pattern, change, text, flags=re.DOTALL | re.IGNORECASE).encode("latin-1")


def _append(files: Sequence[BinaryIO], record: Record) -> None:
    page = record.page
    digest = hashlib.sha256(b"\n".join([page.url.encode(), page.date.encode(), page.body])).digest()
    labels = {"WARC-Source": record.source}
    if record.planted_from:
        labels["WARC-Planted-From"] = record.planted_from
    member = warc.record(page.url, page.date, page.content_type, page.body, uuid.UUID(bytes=digest[:16]), labels)
    files[int.from_bytes(digest[:8]) % len(files)].write(member)
