"""Collects raw pages as gzip WARC files: archives of real pages, generated pages, the user's own crawls.

Each page is one response record, so the later stages run on real crawls without change (paper 3.1.1).
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
from stages.curation.pages.sources import SOURCES, Page, select_pages
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tasks import REGISTRY, source_name
from stages.tasks.pages import pages as task_pages


class Planted(Section):
    """Planted copies of pages, labelled by a WARC header, to measure the quality of de-duplication."""

    share: Annotated[float, Field(ge=0, le=0.5)]
    """Planted copies per page (assumption)."""

    recrawled: Annotated[float, Field(ge=0, le=1)]
    """Share of copies with unchanged text under the same URL with tracking parameters (assumption)."""

    edits: list[Annotated[float, Field(ge=0, le=1)]]
    """Shares of words changed in copies on another host, used in turn (assumption)."""


class Acquire(Section):
    """Sources of raw pages (3.1.1)."""

    sources: dict[str, Annotated[float, Field(gt=0)]]
    """Source -> maximum MB of page bytes. The paper uses its own web crawl (assumption)."""

    generated: dict[str, Annotated[int, Field(ge=0)]]
    """Task (stages/tasks) -> number of generated pages: skills that a toy model can learn (assumption)."""

    warc: list[str]
    """Paths, URLs or globs of the user's WARC files, read through fsspec: s3, https, local (assumption)."""

    shards: Annotated[int, Field(ge=1)]
    """Number of WARC files; the unit of parallel work in extraction and filtering (assumption)."""

    planted: Planted


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    acquire: Annotated[Acquire, "curation.acquire"]
    extract: Annotated[Extract, "curation.extract"]


class SourcedPage(NamedTuple):
    """A page, its source, and the URL of the page that it is a planted copy of."""

    page: Page
    source: str
    planted_from: str = ""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Writes `warc`: pages-00000.warc.gz, ... The same parameters give the same bytes.

    Raises StageError if a source or task is unknown, an archive cannot be fetched, or a WARC file cannot be opened.
    """
    problems: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    size: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    planted_options = config.acquire.planted
    generator = random.Random(f"{config.seed} planted")
    files = [(outputs["warc"] / f"pages-{shard:05d}.warc.gz").open("wb") for shard in range(config.acquire.shards)]
    try:
        for record in _collect_pages(config, context, problems):
            pages[record.source] += 1
            size[record.source] += len(record.page.body)
            _write_record(files, record)
            if generator.random() < planted_options.share:
                copy = _make_copy(record, planted_options, planted.total(), generator)
                planted["recrawled" if copy.page.body == record.page.body else "edited"] += 1
                _write_record(files, copy)
    finally:
        for file in files:
            file.close()
    if not pages:
        raise StageError("curation.acquire: no pages; name sources, generated tasks or WARC files")
    by_source = [{"source": name, "pages": pages[name], "bytes": size[name]} for name in sorted(pages)]
    context.table("pages by source", by_source)
    return {
        "pages": pages.total(),
        "bytes": size.total(),
        "planted": {kind: planted[kind] for kind in ("recrawled", "edited")},
        "sources": {row["source"]: {"pages": row["pages"], "bytes": row["bytes"]} for row in by_source},
        "unreadable": dict(sorted(problems.items())),
    }


def _collect_pages(config: Config, context: Context, problems: Counter[str]) -> Iterator[SourcedPage]:
    options = config.acquire
    if unknown := sorted(set(options.sources) - set(SOURCES)):
        raise StageError(
            f"curation.acquire.sources: {', '.join(unknown)} unknown; known are {', '.join(sorted(SOURCES))}"
        )
    packages = sorted({SOURCES[name][0] for name in options.sources})

    def report_download(name: str, done: int, total: int) -> None:
        context.progress(f"download {name}", done, total or done)

    fetched = archives.fetch_all(packages, report_download)
    steps = len(options.sources) + len(options.generated) + len(options.warc)
    done = 0
    for name, megabytes in sorted(options.sources.items()):
        package, reader = SOURCES[name]
        for page in select_pages(reader(fetched[package]), megabytes):
            yield SourcedPage(page, name)
        context.progress("pages", done := done + 1, steps)
    for task, count in sorted(options.generated.items()):
        for page in _generated_pages(task, count, config.seed):
            yield SourcedPage(page, source_name(task))
        context.progress("pages", done := done + 1, steps)
    for pattern in options.warc:
        for page in _read_crawl(pattern, config.extract.page_bytes, problems):
            yield SourcedPage(page, "crawl")
        context.progress("pages", done := done + 1, steps)


def _generated_pages(task: str, count: int, seed: int) -> Iterator[Page]:
    if task not in REGISTRY:
        raise StageError(f"curation.acquire.generated: {task} unknown; known are {', '.join(REGISTRY)}")
    for page in task_pages(task, count, seed):
        yield Page(*page)


def _read_crawl(pattern: str, max_bytes: int, problems: Counter[str]) -> Iterator[Page]:
    """Pages of the user's WARC files; broken files and records are counted by reason."""
    import fsspec

    try:
        files = sorted(fsspec.open_files(pattern, "rb"), key=lambda file: str(file.path))
    except ImportError as error:
        hint = "pip install s3fs" if pattern.startswith(("s3://", "s3a://")) else "install that package"
        raise StageError(f"curation.acquire.warc: {pattern}: {error}; {hint}, or name other files") from None
    except (OSError, ValueError) as error:
        raise StageError(f"curation.acquire.warc: {pattern}: {error}") from None
    if not files:
        raise StageError(f"curation.acquire.warc: {pattern}: no file matches")
    for file in files:
        try:
            with file as stream:
                for response in warc.read_responses(stream, max_bytes):
                    if isinstance(response, str):
                        problems[response] += 1
                    else:
                        yield Page(response.url, response.date, response.content_type, response.body)
        except FileNotFoundError:
            raise StageError(f"curation.acquire.warc: {file.path}: not found") from None


def _make_copy(record: SourcedPage, options: Planted, number: int, generator: random.Random) -> SourcedPage:
    """A later copy of a page: edited on another host, or unchanged under the same URL with tracking parameters."""
    page = record.page
    date = f"{int(page.date[:4]) + 1:04d}{page.date[4:]}"
    if generator.random() < options.recrawled:
        url = f"{page.url}{'&' if '?' in page.url else '?'}utm_source=feed&utm_campaign={number}"
        return SourcedPage(Page(url, date, page.content_type, page.body), record.source, page.url)
    parts = urlsplit(page.url)
    url = f"https://mirror{number}.example/{parts.netloc}{parts.path}"
    body = _edit_words(page, options.edits[number % len(options.edits)], generator)
    return SourcedPage(Page(url, date, page.content_type, body), record.source, page.url)


def _edit_words(page: Page, rate: float, generator: random.Random) -> bytes:
    """The page with a share of its visible words dropped, doubled, or replaced by another word of the page."""
    # Latin-1 maps each byte to a character, so any charset survives; only ASCII words are edited.
    text = page.body.decode("latin-1")
    pattern = r"<(script|style|head)\b.*?</\1>|<[^>]*>|(?<![\w&;#\x80-\xff])[A-Za-z]{2,}(?![\w;\x80-\xff])"
    words = [match[0] for match in re.finditer(pattern, text, re.DOTALL | re.IGNORECASE) if match[0][0] != "<"]

    def change(match: re.Match[str]) -> str:
        if match[0][0] == "<" or generator.random() >= rate:
            return match[0]
        return generator.choice(["", f"{match[0]} {match[0]}", generator.choice(words)])

    return re.sub(pattern, change, text, flags=re.DOTALL | re.IGNORECASE).encode("latin-1")


def _write_record(files: Sequence[BinaryIO], record: SourcedPage) -> None:
    page = record.page
    digest = hashlib.sha256(b"\n".join([page.url.encode(), page.date.encode(), page.body])).digest()
    extra_headers = {"WARC-Source": record.source}
    if record.planted_from:
        extra_headers["WARC-Planted-From"] = record.planted_from
    identity = uuid.UUID(bytes=digest[:16])
    member = warc.make_record(page.url, page.date, page.content_type, page.body, identity, extra_headers)
    files[int.from_bytes(digest[:8]) % len(files)].write(member)
