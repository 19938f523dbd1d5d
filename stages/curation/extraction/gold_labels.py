"""Pages labelled by hand: which elements of a real page are its main text (gold.yaml; the rules: docs/extraction.md).

The text is read off the page's tree here, by none of the extractors that are compared with it.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.curation.extraction.html import text_of
from stages.curation.pages.archives import Archive
from stages.interface import StageError

LABELS = Path(__file__).with_name("gold.yaml")
SKIPPED = {"script", "style", "noscript", "template", "button", "select", "textarea", "svg", "iframe", "object"}
WORDS = """a abbr b bdi big cite code del dfn em font i ins kbd label mark math q s samp small span strike strong sub
sup time tt u var wbr"""
INLINE = set(WORDS.split())
MARK = "data-gold"


class Gold(NamedTuple):
    """A page and what an extractor should make of it."""

    name: str
    kind: str
    """real or generated."""
    page: str
    """HTML."""
    text: str
    """Its main text: paragraphs, list items, rows and lines of code as lines."""
    code: list[str]
    """The blocks of code in it."""
    technical: bool
    """Whether there is code or mathematics in it."""


def packages() -> list[str]:
    """The archives that hold the labelled pages."""
    return list(_labels())


def labelled(archives: dict[str, Archive]) -> Iterator[Gold]:
    """The labelled pages, by name. Raises StageError where a page is not the one that was labelled, or a selector
    finds nothing."""
    for package, pages in _labels().items():
        members = dict(archives[package].members())
        for member, label in pages.items():
            body = members.get(member, b"")
            if hashlib.sha256(body).hexdigest() != label["sha256"]:
                raise StageError(f"{LABELS.name}: {package}: {member} is not the page that was labelled; label it anew")
            yield read(f"{package}/{member}", text_of(body, "") or "", label["keep"], label.get("drop", ""))


def read(name: str, page: str, keep: str, drop: str) -> Gold:
    """The page with the text of the elements that `keep` selects, in the page's order, without what `drop` does."""
    from resiliparse.parse.html import HTMLTree

    body: Any = HTMLTree.parse(page).body
    for part, selectors in (("keep", keep), ("drop", drop)):
        for selector in filter(None, (one.strip() for one in selectors.split(", "))):
            found = body.query_selector_all(selector)
            if not len(found):
                raise StageError(f"{LABELS.name}: {name}: {selector} selects nothing")
            for node in found:
                node.setattr(MARK, part)
    reader = _Reader()
    reader.walk(body, False)
    lines = (" ".join(line.split()) if not code else line.rstrip() for line, code in reader.lines)
    return Gold(name, "real", page, "\n".join(filter(None, lines)), reader.code, reader.technical)


class _Reader:
    """Collects the lines of the kept elements, and whether a line is code."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bool]] = [("", False)]
        self.code: list[str] = []
        self.technical = False

    def walk(self, node: Any, kept: bool) -> None:
        if node.type == 3:
            if kept:
                self.lines[-1] = (self.lines[-1][0] + node.value, False)
            return
        if node.type != 1 or node.tag in SKIPPED:
            return
        mark = node.getattr(MARK) if node.hasattr(MARK) else ""
        kept = mark == "keep" or (kept and mark != "drop")
        self.technical = self.technical or (kept and node.tag in ("pre", "code", "math"))
        if kept and node.tag == "pre":
            text = node.text.strip("\n")
            self.code.append(text)
            self.lines += [(line, True) for line in text.split("\n")] + [("", False)]
        elif kept and node.tag == "math":
            note = node.query_selector("annotation")
            source = note.text if note else node.getattr("alttext") or node.text
            self.lines[-1] = (f"{self.lines[-1][0]} {source} ", False)
        else:
            breaks = node.tag not in INLINE
            if breaks:
                self.lines.append(("", False))
            for child in node.child_nodes:
                self.walk(child, kept)
            if breaks:
                self.lines.append(("", False))


def _labels() -> dict[str, dict[str, dict[str, str]]]:
    labels: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(LABELS.read_text(encoding="utf-8"))
    return labels
