"""Hand-labelled pages: gold.yaml says which elements of a real page are its main text (rules: docs/extraction.md).

This module reads the text from the page's tree, with none of the extractors that are compared.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.curation.extraction.html import decode_bytes
from stages.curation.pages.archives import Archive
from stages.interface import StageError

LABELS = Path(__file__).with_name("gold.yaml")
SKIPPED = {"script", "style", "noscript", "template", "button", "select", "textarea", "svg", "iframe", "object"}
INLINE = """a abbr b bdi big cite code del dfn em font i ins kbd label mark math q s samp small span strike strong sub
sup time tt u var wbr"""
INLINE_TAGS = set(INLINE.split())
LABEL_ATTRIBUTE = "data-gold"


class GoldPage(NamedTuple):
    """A page and its expected extraction."""

    name: str
    kind: str
    """real or generated."""
    page: str
    """HTML."""
    text: str
    """Its main text; each paragraph, list item, table row and line of code is a line."""
    code: list[str]
    """Its blocks of code."""
    is_technical: bool
    """Whether it has code or mathematics."""


def packages() -> list[str]:
    """The archives that hold the labelled pages."""
    return list(_read_labels())


def labelled_pages(archives: dict[str, Archive]) -> Iterator[GoldPage]:
    """The labelled pages, by name. Raises StageError if a page differs from the labelled one, or a selector matches
    nothing."""
    for package, pages in _read_labels().items():
        members = dict(archives[package].members())
        for member, label in pages.items():
            body = members.get(member, b"")
            if hashlib.sha256(body).hexdigest() != label["sha256"]:
                raise StageError(
                    f"{LABELS.name}: {package}: {member} is not the page that was labelled; label it again"
                )
            yield apply_labels(
                f"{package}/{member}", decode_bytes(body, "") or "", label["keep"], label.get("drop", "")
            )


def apply_labels(name: str, page: str, keep: str, drop: str) -> GoldPage:
    """The page, and the text of the elements that `keep` selects, in order, without those that `drop` selects."""
    from resiliparse.parse.html import HTMLTree

    body: Any = HTMLTree.parse(page).body
    for label, selectors in (("keep", keep), ("drop", drop)):
        for selector in filter(None, (selector.strip() for selector in selectors.split(", "))):
            found = body.query_selector_all(selector)
            if not len(found):
                raise StageError(f"{LABELS.name}: {name}: {selector} matches nothing")
            for node in found:
                node.setattr(LABEL_ATTRIBUTE, label)
    collector = _TextCollector()
    collector.visit(body, False)
    lines = (" ".join(line.split()) if not is_code else line.rstrip() for line, is_code in collector.lines)
    return GoldPage(name, "real", page, "\n".join(filter(None, lines)), collector.code, collector.is_technical)


class _TextCollector:
    """Collects the lines of the kept elements, each with whether it is code."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bool]] = [("", False)]
        self.code: list[str] = []
        self.is_technical = False

    def visit(self, node: Any, kept: bool) -> None:
        if node.type == 3:
            if kept:
                self.lines[-1] = (self.lines[-1][0] + node.value, False)
            return
        if node.type != 1 or node.tag in SKIPPED:
            return
        label = node.getattr(LABEL_ATTRIBUTE) if node.hasattr(LABEL_ATTRIBUTE) else ""
        kept = label == "keep" or (kept and label != "drop")
        self.is_technical = self.is_technical or (kept and node.tag in ("pre", "code", "math"))
        if kept and node.tag == "pre":
            text = node.text.strip("\n")
            self.code.append(text)
            self.lines += [(line, True) for line in text.split("\n")] + [("", False)]
        elif kept and node.tag == "math":
            note = node.query_selector("annotation")
            source = note.text if note else node.getattr("alttext") or node.text
            self.lines[-1] = (f"{self.lines[-1][0]} {source} ", False)
        else:
            is_block = node.tag not in INLINE_TAGS
            if is_block:
                self.lines.append(("", False))
            for child in node.child_nodes:
                self.visit(child, kept)
            if is_block:
                self.lines.append(("", False))


def _read_labels() -> dict[str, dict[str, dict[str, str]]]:
    labels: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(LABELS.read_text(encoding="utf-8"))
    return labels
