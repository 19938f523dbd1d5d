"""Rules of thumb against text that no one wrote to be read (paper 3.1.1, heuristic filtering).

Repetition, dirty words, statistics of words and lines, and last the divergence of a document's words from those of its
kind. Code, worked math and exercises repeat by nature and have thresholds of their own.
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
from stages.curation.filters.repetition import Repetition, Share, repetition
from stages.curation.lines import prose_lines
from stages.interface import Context, Metrics, Paths, Section, StageError

STEPS = ("rules", "divergence")
Domain = Literal["prose", "exercises", "math", "code"]


class Heuristics(Section):
    """Thresholds by domain of text."""

    words: dict[Domain, tuple[int, int]]
    """Fewest and most words of a document (assumption; Gopher: 50 to 100,000, for whole web pages)."""

    word_length: tuple[float, float]
    """Least and largest mean length of a word of prose, in characters (assumption: Gopher's values)."""

    symbols: Share
    """Most hash signs and ellipses per word of prose (assumption: Gopher's value)."""

    ellipsis_lines: Share
    """Largest share of lines of prose that end with an ellipsis (assumption: Gopher's value)."""

    alphabetic: Share
    """Smallest share of the words of prose that hold a letter (assumption: Gopher asks for 0.8)."""

    code_line: int
    """Longest line of code, in characters: longer ones are data or minified (assumption)."""

    code_alphanumeric: Share
    """Smallest share of letters and digits in code (assumption)."""

    math_words: Share
    """Share of words that are numbers or operators from which on a text counts as math (assumption)."""

    exercise_marks: Annotated[float, Field(gt=0)]
    """Question marks and labels of questions and answers per 100 words from which on a text counts as exercises
    (assumption)."""

    exercise_words: Annotated[float, Field(gt=0)]
    """Median words per sentence up to which a text counts as exercises (assumption)."""

    dirty_count: Annotated[int, Field(ge=0)]
    """Documents with more dirty words than this may be dropped (assumption; 3.1.1 names the measure, for adult pages
    that no domain list covers)."""

    dirty_density: Annotated[float, Field(ge=0)]
    """... if there are also more than this many per 1,000 words (assumption)."""

    repetition: dict[Domain, Repetition]

    divergence: Divergence


@dataclass(frozen=True)
class Config:
    heuristics: Annotated[Heuristics, "curation.heuristics"]


class Shard(NamedTuple):
    """One document file to read, and the one to write."""

    source: Path
    output: Path
    dirty: dirty_words.DirtyWords
    limits: Heuristics


class Outcome(NamedTuple):
    """The stats of one shard, and how often each kind of document has each word."""

    stats: FilterStats
    words: divergence.Words


NUMBER = re.compile(r"\d|^[-+*/=<>^%()]+$")
LETTER = re.compile(r"[^\W\d_]")
SENTENCE = re.compile(r"[^.?!:\n]+[.?!:\n]?")
"""A sentence, or what follows the last: an end that must be there is looked for once per character where none is."""
QUESTION = re.compile(r"\b[QA]:")
WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file: a pass for the rules, one for the divergence, one for its cuts."""
    limits = config.heuristics
    dirty = dirty_words.load()
    files = documents.document_files(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, dirty, limits) for file in files]
    stats, words = FilterStats(), divergence.Words(limits.divergence.hash_bits)
    for outcome in context.map("rules", filter_shard, work, kind="process"):
        stats.merge(outcome.stats)
        words.add(outcome.words)
    reference = words.frequencies()
    scoring = [divergence.Shard(shard.output, reference, limits.divergence) for shard in work]
    scores = context.map("divergence", score_shard, [(shard, limits) for shard in scoring], kind="process")
    outliers = divergence.outliers(scores, limits.divergence)
    for shard, rows in zip(work, outliers.rows, strict=True):
        if rows:
            documents.remove_from_file(shard.output, partial(_outlier, set(rows)), stats)
    if not stats.documents_out:
        raise StageError(
            f"curation.heuristics: nothing left of {stats.documents_in} documents; loosen curation.heuristics"
        )
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS) | {"divergence": outliers.groups}
    context.table("funnel", metrics["funnel"])
    return metrics


def filter_shard(shard: Shard) -> Outcome:
    """Applies the rules to one file and counts the words of what stays."""
    stats, words = FilterStats(), divergence.Words(shard.limits.divergence.hash_bits)

    def rule(document: Document) -> Removal | None:
        look = view(document, shard.limits)
        if reason := judge(look, shard.limits) or shard.dirty.judge(
            look.text, shard.limits.dirty_count, shard.limits.dirty_density
        ):
            return Removal("rules", reason)
        words.count(kind(document, look), look.words)
        return None

    kept = list(documents.filter_documents(documents.read_documents(shard.source), rule, stats))
    documents.write_documents(shard.output, kept)
    return Outcome(stats, words)


def score_shard(work: tuple[divergence.Shard, Heuristics]) -> list[divergence.Score]:
    """The divergence of each document of one file from its kind."""
    shard, limits = work
    scores = []
    for document in documents.read_documents(shard.source):
        look = view(document, limits)
        scores.append(divergence.score(kind(document, look), look.words, shard))
    return scores


def _outlier(rows: set[int], row: int, document: Document) -> Removal | None:
    return Removal("divergence", "outlier words") if row in rows else None


class View(NamedTuple):
    """What the rules look at."""

    text: str
    words: list[str]
    letters: int
    """Words that hold a letter."""
    domain: Domain


def kind(document: Document, look: View) -> divergence.Kind:
    """The documents whose words are compared: one language, one domain."""
    return document["language"], look.domain


def view(document: Document, limits: Heuristics) -> View:
    """The text by which a document is judged, its words and its domain."""
    text = document["text"]
    if document["media"] != "code" and document["code"]:
        # What prose holds of code is judged neither as prose nor as code.
        text = "\n".join(prose_lines(document))
    # Scripts that write no spaces: a character stands for a word.
    words = (WIDE.sub(r" \g<0> ", text) if WIDE.search(text) else text).split()
    signs = [word for word in words if not (word.isalpha() or LETTER.search(word))]
    domain = domain_of(document, text, words, signs, limits)
    if domain == "code":
        text = document["text"]
        return View(text, text.split(), 0, domain)
    return View(text, words, len(words) - len(signs), domain)


def judge(look: View, limits: Heuristics) -> str | None:
    """The name of the first rule a document breaks, or None."""
    text, words, letters, domain = look
    least, most = limits.words[domain]
    if len(words) < least:
        return "too few words"
    if len(words) > most:
        return "too many words"
    if domain == "prose" and (reason := _prose(text, words, letters, limits)):
        return reason
    if domain == "code" and (reason := _code(text, limits)):
        return reason
    return repetition(text, words, limits.repetition[domain])


def domain_of(document: Document, prose: str, words: list[str], signs: list[str], limits: Heuristics) -> Domain:
    """Which set of rules applies; `prose` is the text without its code, `signs` those of its words without a letter."""
    lines = document["text"].count("\n") + 1
    if document["media"] == "code" or 2 * sum(last - first + 1 for first, last in document["code"]) > lines:
        return "code"
    if sum(NUMBER.search(word) is not None for word in signs) >= limits.math_words * len(words) > 0:
        return "math"
    return "exercises" if _exercises(prose, limits) else "prose"


def _exercises(text: str, limits: Heuristics) -> bool:
    """Many questions and answers, or mostly very short sentences: menus are short, too, but have no full stops."""
    marks = text.count("?") + (len(QUESTION.findall(text)) if "Q:" in text or "A:" in text else 0)
    if 100 * marks >= limits.exercise_marks * len(text.split()):
        return True
    sentences = [found for found in SENTENCE.findall(text) if found[-1] in ".?!:\n" and found[:-1].strip()]
    ended = [sentence for sentence in sentences if sentence[-1] != "\n"]
    lengths = [len(sentence.split()) for sentence in ended]
    return 2 * len(ended) > len(sentences) and float(np.median(lengths)) <= limits.exercise_words


def _prose(text: str, words: list[str], letters: int, limits: Heuristics) -> str | None:
    mean = sum(map(len, words)) / len(words)
    if not limits.word_length[0] <= mean <= limits.word_length[1] and not WIDE.search(text):
        return "word length"
    symbols = text.count("#") + text.count("...") + text.count("\u2026")
    if symbols > limits.symbols * len(words):
        return "symbols"
    lines = text.split("\n")
    if sum(line.endswith(("...", "\u2026")) for line in lines) > limits.ellipsis_lines * len(lines):
        return "ellipsis lines"
    if letters < limits.alphabetic * len(words):
        return "few alphabetic words"
    return None


def _code(text: str, limits: Heuristics) -> str | None:
    if max(map(len, text.split("\n"))) > limits.code_line:
        return "long line of code"
    if sum(map(str.isalnum, text)) < limits.code_alphanumeric * len(text):
        return "few letters in code"
    return None
