"""Heuristic filters for low-quality text (paper 3.1.1, heuristic filtering).

Repetition, dirty words, statistics of words and lines, then the divergence of a document's words from other documents.
Code, math and exercises repeat more than prose and have their own thresholds.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from stages.curation import documents
from stages.curation.documents import Document, FilterStats, Removal
from stages.curation.filters import dirty_words, divergence
from stages.curation.filters.divergence import Divergence
from stages.curation.filters.repetition import Repetition, Share, find_repetition
from stages.curation.lines import prose_lines
from stages.curation.ngrams import UNSPACED_SCRIPTS
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("rules", "divergence")
Domain = Literal["prose", "exercises", "math", "code"]


class Heuristics(Section):
    """Thresholds by domain of text."""

    words: dict[Domain, tuple[int, int]]
    """Minimum and maximum number of words (assumption; Gopher: 50 to 100,000, for whole web pages)."""

    word_length: tuple[float, float]
    """Minimum and maximum mean word length of prose, in characters (assumption: Gopher's values)."""

    symbols: Share
    """Maximum number of hash signs and ellipses per word of prose (assumption: Gopher's value)."""

    ellipsis_lines: Share
    """Maximum share of lines of prose that end with an ellipsis (assumption: Gopher's value)."""

    alphabetic: Share
    """Minimum share of words of prose with a letter (assumption: Gopher asks for 0.8)."""

    code_line: int
    """Maximum line length of code, in characters; longer lines are data or minified code (assumption)."""

    code_alphanumeric: Share
    """Minimum share of letters and digits in code (assumption)."""

    math_words: Share
    """Minimum share of numbers and operators among the words of math (assumption)."""

    exercise_marks: Annotated[float, Field(gt=0)]
    """Minimum number of question marks and labels of questions and answers per 100 words of exercises (assumption)."""

    exercise_words: Annotated[float, Field(gt=0)]
    """Maximum median of words per sentence of exercises (assumption)."""

    dirty_count: Annotated[int, Field(ge=0)]
    """Documents with more dirty words may be dropped (assumption; 3.1.1 names the measure, for adult pages that no
    domain list covers)..."""

    dirty_density: Annotated[float, Field(ge=0)]
    """... if they also have more per 1,000 words than this (assumption)."""

    repetition: dict[Domain, Repetition]

    divergence: Divergence


@dataclass(frozen=True)
class Config:
    heuristics: Annotated[Heuristics, "curation.heuristics"]


class Shard(NamedTuple):
    """One document file to filter, and its output file."""

    source: Path
    output: Path
    dirty: dirty_words.DirtyWords
    limits: Heuristics


class ShardResult(NamedTuple):
    """Statistics of one shard, and word counts by kind of document."""

    stats: FilterStats
    words: divergence.WordCounts


NUMBER = re.compile(r"\d|^[-+*/=<>^%()]+$")
LETTER = re.compile(r"[^\W\d_]")
SENTENCE = re.compile(r"[^.?!:\n]+[.?!:\n]?")
"""A sentence, or the text after the last one; a mandatory end would take quadratic time in text without ends."""
QUESTION = re.compile(r"\b[QA]:")
UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]")


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file: a pass for rules, one for divergence, one to remove outliers."""
    limits = config.heuristics
    dirty = dirty_words.load()
    files = documents.document_files(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, dirty, limits) for file in files]
    stats, words = FilterStats(), divergence.WordCounts(limits.divergence.hash_bits)
    for result in context.map("rules", filter_shard, work, kind="process"):
        stats.merge(result.stats)
        words.merge(result.words)
    reference = words.frequencies()
    scoring = [divergence.Shard(shard.output, reference, limits.divergence) for shard in work]
    scores = context.map("divergence", score_shard, [(shard, limits) for shard in scoring], kind="process")
    outliers = divergence.find_outliers(scores, limits.divergence)
    for shard, rows in zip(work, outliers.rows, strict=True):
        if rows:
            documents.remove_from_file(shard.output, partial(_outlier_rule, set(rows)), stats)
    if not stats.documents_out:
        raise StageError(
            f"curation.heuristics: nothing left of {stats.documents_in} documents; loosen curation.heuristics"
        )
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS) | {"divergence": outliers.groups}
    context.table("funnel", metrics["funnel"])
    return metrics


def filter_shard(shard: Shard) -> ShardResult:
    """Applies the rules to one file, and counts the words of the kept documents."""
    limits = shard.limits
    stats, words = FilterStats(), divergence.WordCounts(limits.divergence.hash_bits)

    def rule(document: Document) -> Removal | None:
        view = make_view(document, limits)
        reason = broken_rule(view, limits)
        reason = reason or shard.dirty.find_reason(view.text, limits.dirty_count, limits.dirty_density)
        if reason:
            return Removal("rules", reason)
        words.add_document(kind_of(document, view), view.words)
        return None

    kept = list(documents.filter_documents(documents.read_documents(shard.source), rule, stats))
    documents.write_documents(shard.output, kept)
    return ShardResult(stats, words)


def score_shard(work: tuple[divergence.Shard, Heuristics]) -> list[divergence.Score]:
    """The divergence of each document of one file from its kind."""
    shard, limits = work
    scores = []
    for document in documents.read_documents(shard.source):
        view = make_view(document, limits)
        scores.append(divergence.score(kind_of(document, view), view.words, shard))
    return scores


def _outlier_rule(rows: set[int], row: int, document: Document) -> Removal | None:
    return Removal("divergence", "outlier words") if row in rows else None


class TextView(NamedTuple):
    """The parts of a document that the rules use."""

    text: str
    words: list[str]
    num_alphabetic: int
    """Words with a letter."""
    domain: Domain


def kind_of(document: Document, view: TextView) -> divergence.Kind:
    """Language and domain: the documents whose words are compared."""
    return document["language"], view.domain


def make_view(document: Document, limits: Heuristics) -> TextView:
    """The text, words and domain of a document."""
    text = document["text"]
    if document["media"] != "code" and document["code"]:
        # Code inside prose is ignored.
        text = "\n".join(prose_lines(document))
    # In scripts without spaces each character is a word.
    words = (UNSPACED.sub(r" \g<0> ", text) if UNSPACED.search(text) else text).split()
    symbols = [word for word in words if not (word.isalpha() or LETTER.search(word))]
    domain = domain_of(document, text, words, symbols, limits)
    if domain == "code":
        text = document["text"]
        return TextView(text, text.split(), 0, domain)
    return TextView(text, words, len(words) - len(symbols), domain)


def broken_rule(view: TextView, limits: Heuristics) -> str | None:
    """The name of the first rule that a document breaks, or None."""
    text, words, num_alphabetic, domain = view
    least, most = limits.words[domain]
    if len(words) < least:
        return "too few words"
    if len(words) > most:
        return "too many words"
    if domain == "prose" and (reason := _broken_prose_rule(text, words, num_alphabetic, limits)):
        return reason
    if domain == "code" and (reason := _broken_code_rule(text, limits)):
        return reason
    return find_repetition(text, words, limits.repetition[domain])


def domain_of(document: Document, prose: str, words: list[str], symbols: list[str], limits: Heuristics) -> Domain:
    """The set of rules that applies; `prose`: the text without code, `symbols`: its words without a letter."""
    lines = document["text"].count("\n") + 1
    if document["media"] == "code" or 2 * sum(last - first + 1 for first, last in document["code"]) > lines:
        return "code"
    if sum(NUMBER.search(word) is not None for word in symbols) >= limits.math_words * len(words) > 0:
        return "math"
    return "exercises" if _is_exercises(prose, limits) else "prose"


def _is_exercises(text: str, limits: Heuristics) -> bool:
    """Whether a text has many questions and answers, or mostly very short sentences with full stops (unlike menus)."""
    marks = text.count("?") + (len(QUESTION.findall(text)) if "Q:" in text or "A:" in text else 0)
    if 100 * marks >= limits.exercise_marks * len(text.split()):
        return True
    sentences = [found for found in SENTENCE.findall(text) if found[-1] in ".?!:\n" and found[:-1].strip()]
    ended = [sentence for sentence in sentences if sentence[-1] != "\n"]
    lengths = [len(sentence.split()) for sentence in ended]
    return 2 * len(ended) > len(sentences) and float(np.median(lengths)) <= limits.exercise_words


def _broken_prose_rule(text: str, words: list[str], num_alphabetic: int, limits: Heuristics) -> str | None:
    mean = sum(map(len, words)) / len(words)
    if not limits.word_length[0] <= mean <= limits.word_length[1] and not UNSPACED.search(text):
        return "word length"
    symbols = text.count("#") + text.count("...") + text.count("\u2026")
    if symbols > limits.symbols * len(words):
        return "symbols"
    lines = text.split("\n")
    if sum(line.endswith(("...", "\u2026")) for line in lines) > limits.ellipsis_lines * len(lines):
        return "ellipsis lines"
    if num_alphabetic < limits.alphabetic * len(words):
        return "few alphabetic words"
    return None


def _broken_code_rule(text: str, limits: Heuristics) -> str | None:
    if max(map(len, text.split("\n"))) > limits.code_line:
        return "long line of code"
    if sum(map(str.isalnum, text)) < limits.code_alphanumeric * len(text):
        return "few letters in code"
    return None
