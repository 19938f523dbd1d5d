"""Measures the extraction on pages with known main text, compared with two libraries (3.1.1).

Ours, Resiliparse and trafilatura read the same pages: labelled real ones, and generated ones with formulas or code.
Precision, recall and F1 of the multiset of word n-grams are computed per page. Only words count, so the way in which a
library marks lists and tables has no effect.
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
from stages.curation.extraction.gold_labels import GoldPage
from stages.curation.pages import archives
from stages.interface import Context, Metrics, Paths, Section

WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W぀-ヿ㐀-鿿가-힯]+")
"""A word; in scripts without spaces, a character."""
SCORES = ("precision", "recall", "f1")


class GoldPages(Section):
    """Measurement of the extraction."""

    generated: Annotated[int, Field(ge=1)]
    """Generated pages of mathematics and code, in addition to the hand-labelled ones (assumption)."""

    ngram: Annotated[int, Field(ge=1)]
    """Words of an n-gram; with more than 1 the order of words counts (assumption)."""

    draws: Annotated[int, Field(ge=1)]
    """Bootstrap draws of an interval (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    gold: Annotated[GoldPages, "curation.gold"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Returns scores by extractor and kind of page, and the differences between ours and each library."""

    def report_download(name: str, done: int, total: int) -> None:
        context.progress(f"download {name}", done, total or done)

    fetched = archives.fetch_all(gold_labels.packages(), report_download)
    pages = [*gold_labels.labelled_pages(fetched), *gold_pages.generated_pages(config.gold.generated, config.seed)]
    scores: list[dict[str, Any]] = []
    for number, page in enumerate(pages):
        texts = {name: extract(page.page) for name, extract in EXTRACTORS.items()}
        scores.append({name: score_page(page, text, config.gold.ngram) for name, text in texts.items()})
        context.progress("pages", number + 1, len(pages))
    metrics = summarize(pages, scores, config.gold)
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
    """Resiliparse's extraction of main content, without comments as in the gold text; otherwise its defaults."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(page, main_content=True, comments=False))


def trafilatura(page: str) -> str:
    """trafilatura's default extraction, without comments as in the gold text."""
    from trafilatura import extract

    return extract(page, include_comments=False) or ""


EXTRACTORS: dict[str, Callable[[str], str]] = {"ours": ours, "resiliparse": resiliparse, "trafilatura": trafilatura}


def score_page(page: GoldPage, text: str, ngram: int) -> dict[str, float]:
    """Precision, recall and F1 of n-grams; F1 of words; share of the lines of code that the text has with their
    indentation (1 if there is no code)."""
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
    expected, extracted = ngrams(gold, ngram), ngrams(text, ngram)
    shared = (expected & extracted).total()
    precision, recall = shared / max(1, extracted.total()), shared / max(1, expected.total())
    return precision, recall, 2 * shared / max(1, expected.total() + extracted.total())


def ngrams(text: str, ngram: int) -> Counter[tuple[str, ...]]:
    """Word n-grams; a text with fewer words is one n-gram."""
    words = WORD.findall(unicodedata.normalize("NFC", text))
    return Counter(zip(*(words[start:] for start in range(min(ngram, len(words)))), strict=False))


def summarize(pages: list[GoldPage], page_scores: list[dict[str, Any]], config: GoldPages) -> Metrics:
    """Means over pages with bootstrap intervals; differences are paired by page."""
    groups = {
        "real": [page.kind == "real" for page in pages],
        "technical": [page.is_technical for page in pages],
        "technical, real": [page.is_technical and page.kind == "real" for page in pages],
        "technical, generated": [page.is_technical and page.kind == "generated" for page in pages],
        "other": [not page.is_technical for page in pages],
    }
    scores: dict[str, Any] = {}
    ahead: dict[str, Any] = {}
    for group, members in groups.items():
        chosen = [row for row, member in zip(page_scores, members, strict=True) if member]
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
