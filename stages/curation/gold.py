"""How well the extraction finds the main text: against pages whose main text is known, beside two libraries (3.1.1).

Ours, Resiliparse's extraction of main content and trafilatura read the same pages, real ones labelled by hand and
generated ones of mathematics and code. A text is the multiset of its word n-grams; precision, recall and F1 of that
multiset are taken per page. Words only: how a library marks lists or tables decides nothing.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages import statistics
from stages.curation.extraction import gold_labels, gold_pages, html
from stages.curation.extraction.gold_labels import Gold
from stages.curation.pages import archives
from stages.interface import Context, Metrics, Paths, Section

WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W぀-ヿ㐀-鿿가-힯]+")
"""A word; a character in writing without spaces."""
SCORES = ("precision", "recall", "f1")


class GoldPages(Section):
    """How the extraction is measured."""

    generated: Annotated[int, Field(ge=1)]
    """Generated pages of mathematics and code, beside those labelled by hand (assumption)."""

    ngram: Annotated[int, Field(ge=1)]
    """Words of an n-gram: more than 1, so that the order of the text counts (assumption)."""

    draws: Annotated[int, Field(ge=1)]
    """Bootstrap draws of an interval (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    gold: Annotated[GoldPages, "curation.gold"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Writes nothing but its metrics: scores by extractor and kind of page, and what ours is ahead of each peer."""

    def report(name: str, done: int, total: int) -> None:
        context.progress(f"download {name}", done, total or done)

    found = archives.fetch_all(gold_labels.packages(), report)
    pages = [*gold_labels.labelled(found), *gold_pages.generated(config.gold.generated, config.seed)]
    rows: list[dict[str, Any]] = []
    for number, page in enumerate(pages):
        texts = {name: extract(page.page) for name, extract in EXTRACTORS.items()}
        rows.append({name: measure(page, text, config.gold.ngram) for name, text in texts.items()})
        context.progress("pages", number + 1, len(pages))
    metrics = summary(pages, rows, config.gold)
    table = [
        {"pages": group, "extractor": name} | {score: round(values[score]["value"], 3) for score in SCORES}
        for group, names in metrics["scores"].items()
        for name, values in names.items()
    ]
    context.table("extraction against gold", table)
    return metrics


def ours(page: str) -> str:
    return html.main_content(page)[0]


def resiliparse(page: str) -> str:
    """Its extraction of main content, told to leave comments out, since gold does; all else is its default."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(page, main_content=True, comments=False))


def trafilatura(page: str) -> str:
    """Its default, told to leave comments out, since gold does."""
    from trafilatura import extract

    return extract(page, include_comments=False) or ""


EXTRACTORS: dict[str, Callable[[str], str]] = {"ours": ours, "resiliparse": resiliparse, "trafilatura": trafilatura}


def measure(page: Gold, text: str, ngram: int) -> dict[str, float]:
    """Precision, recall and F1 of n-grams; F1 of words; the share of the lines of code that are lines of the text, with
    their indentation (1 where there is no code)."""
    precision, recall, f1 = overlap(page.text, text, ngram)
    lines = Counter(line.rstrip() for line in text.split("\n"))
    code = Counter(line.rstrip() for block in page.code for line in block.split("\n") if line.strip())
    kept = (lines & code).total() / code.total() if code else 1.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "f1_words": overlap(page.text, text, 1)[2],
        "code": kept,
    }


def overlap(gold: str, text: str, ngram: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of the multiset of word n-grams of `text` against that of `gold`."""
    wanted, got = ngrams(gold, ngram), ngrams(text, ngram)
    both = (wanted & got).total()
    precision, recall = both / max(1, got.total()), both / max(1, wanted.total())
    return precision, recall, 2 * both / max(1, wanted.total() + got.total())


def ngrams(text: str, ngram: int) -> Counter[tuple[str, ...]]:
    """Of a text with fewer words, all of them as one."""
    words = WORD.findall(unicodedata.normalize("NFC", text))
    return Counter(zip(*(words[start:] for start in range(min(ngram, len(words)))), strict=False))


def summary(pages: list[Gold], rows: list[dict[str, Any]], config: GoldPages) -> Metrics:
    """Means over pages with bootstrap intervals; the differences are paired by page."""
    groups = {
        "technical": [page.technical for page in pages],
        "technical, real": [page.technical and page.kind == "real" for page in pages],
        "technical, generated": [page.technical and page.kind == "generated" for page in pages],
        "other": [not page.technical for page in pages],
    }
    scores: dict[str, Any] = {}
    ahead: dict[str, Any] = {}
    for group, members in groups.items():
        chosen = [row for row, member in zip(rows, members, strict=True) if member]
        values = {
            name: {score: np.array([row[name][score] for row in chosen]) for score in chosen[0][name]}
            for name in EXTRACTORS
        }
        scores[group] = {
            name: {score: _mean(array, config.draws) for score, array in of.items()} for name, of in values.items()
        }
        ahead[group] = {
            name: _mean(values["ours"]["f1"] - of["f1"], config.draws) for name, of in values.items() if name != "ours"
        }
    return {
        "pages": {group: sum(members) for group, members in groups.items()},
        "ngram": config.ngram,
        "scores": scores,
        "ahead": ahead,
    }


def _mean(values: np.ndarray, draws: int) -> dict[str, float]:
    return statistics.bootstrap_ratio(values, np.ones(len(values)), draws)
