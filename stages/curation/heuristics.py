"""Rules of thumb against text that no one wrote to be read (paper 3.1.1, heuristic filtering).

Repetition is measured as Rae et al. (2021, Gopher, table A1) do: a page of logs or of keywords repeats itself where
prose does not. Code, worked maths and exercises repeat by nature and have thresholds of their own.
"""

import re
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.curation.documents import Document
from stages.curation.lines import prose
from stages.interface import Section

Share = Annotated[float, Field(ge=0, le=1)]
Domain = Literal["prose", "exercises", "maths", "code"]


class Repetition(Section):
    """Largest share of characters in repeated n-grams of words; a missing n is not looked at."""

    top: dict[Annotated[int, Field(ge=1)], Share]
    """n -> largest share of the most frequent n-gram (paper 3.1.1 names the measure; values: Gopher, for prose)."""

    duplicate: dict[Annotated[int, Field(ge=1)], Share]
    """n -> largest share of n-grams that occurred before in the document (as above)."""

    words: Annotated[int, Field(ge=0)]
    """Texts of fewer words are not judged by their n-grams (Gopher's rules are for 50 words and more)."""

    lines: Share
    """Largest share of characters in lines that occurred before in the document (as above)."""


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

    maths_words: Share
    """Share of words that are numbers or operators from which on a text counts as maths (assumption)."""

    exercise_marks: Annotated[float, Field(gt=0)]
    """Question marks and labels of questions and answers per 100 words from which on a text counts as exercises
    (assumption)."""

    exercise_words: Annotated[float, Field(gt=0)]
    """Median words per sentence up to which a text counts as exercises (assumption)."""

    repetition: dict[Domain, Repetition]


WORD = re.compile(r"\S+")
NUMBER = re.compile(r"\d|^[-+*/=<>^%()]+$")
LETTER = re.compile(r"[^\W\d_]")
SENTENCE = re.compile(r"[^.?!:\n]*[^.?!:\s][^.?!:\n]*[.?!:\n]")
QUESTION = re.compile(r"\?|\bQ:|\bA:")
WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")


def judge(document: Document, limits: Heuristics) -> str | None:
    """The name of the first rule a document breaks, or None."""
    text = document["text"]
    if document["media"] != "code" and document["code"]:
        # What prose holds of code is judged neither as prose nor as code.
        text = "\n".join(prose(document))
    # Scripts that write no spaces: a character stands for a word.
    words = WORD.findall(WIDE.sub(r" \g<0> ", text) if WIDE.search(text) else text)
    signs = [word for word in words if not (word.isalpha() or LETTER.search(word))]
    domain = domain_of(document, text, words, signs, limits)
    if domain == "code":
        text = document["text"]
        words = WORD.findall(text)
    least, most = limits.words[domain]
    if len(words) < least:
        return "too few words"
    if len(words) > most:
        return "too many words"
    if domain == "prose" and (reason := _prose(text, words, len(words) - len(signs), limits)):
        return reason
    if domain == "code" and (reason := _code(text, limits)):
        return reason
    return repetition(text, words, limits.repetition[domain])


def domain_of(document: Document, prose: str, words: list[str], signs: list[str], limits: Heuristics) -> Domain:
    """Which set of rules applies; `prose` is the text without its code, `signs` those of its words without a letter."""
    lines = document["text"].count("\n") + 1
    if document["media"] == "code" or 2 * sum(last - first + 1 for first, last in document["code"]) > lines:
        return "code"
    if sum(NUMBER.search(word) is not None for word in signs) >= limits.maths_words * len(words) > 0:
        return "maths"
    return "exercises" if _exercises(prose, limits) else "prose"


def _exercises(text: str, limits: Heuristics) -> bool:
    """Many questions and answers, or mostly very short sentences: menus are short, too, but have no full stops."""
    if 100 * len(QUESTION.findall(text)) >= limits.exercise_marks * len(text.split()):
        return True
    sentences = SENTENCE.findall(text)
    ended = [sentence for sentence in sentences if sentence[-1] != "\n"]
    lengths = [len(sentence.split()) for sentence in ended]
    return 2 * len(ended) > len(sentences) and float(np.median(lengths)) <= limits.exercise_words


def repetition(text: str, words: list[str], limits: Repetition) -> str | None:
    """The first measure of repetition that is over its limit, or None."""
    lines = [line for line in (line.strip() for line in text.split("\n")) if line]
    seen: set[str] = set()
    repeated = total = 0
    for line in lines:
        total += len(line)
        repeated += len(line) if line in seen else 0
        seen.add(line)
    if repeated > limits.lines * total:
        return "repeated lines"
    if len(words) < limits.words:
        return None
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.uint64)
    sizes = np.array([len(word) for word in words], np.int64)
    for n, share in limits.top.items():
        if top_share(ids, sizes, n) > share:
            return f"one {n}-gram too often"
    for n, share in limits.duplicate.items():
        if duplicate_share(ids, sizes, n) > share:
            return f"repeated {n}-grams"
    return None


def top_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in the n-gram that covers the most; 0 where none occurs twice. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = _ngrams(ids, n)
    _, first, count = np.unique(keys, return_index=True, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    covered = np.where(count > 1, count * (edges[first + n] - edges[first]), 0)
    return float(covered.max() / edges[-1])


def duplicate_share(ids: np.ndarray, sizes: np.ndarray, n: int) -> float:
    """Share of characters in n-grams that occurred before, each character counted once. ids, sizes: [words]."""
    if len(ids) < n:
        return 0.0
    keys = _ngrams(ids, n)
    again = np.ones(len(keys), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    starts = np.flatnonzero(again)
    steps = np.zeros(len(ids) + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + n, -1)
    return float(sizes[np.cumsum(steps[:-1]) > 0].sum() / sizes.sum())


def _ngrams(ids: np.ndarray, n: int) -> np.ndarray:
    """[words - n + 1] keys, equal where n-grams are (up to 64-bit collisions)."""
    keys = np.zeros(len(ids) - n + 1, np.uint64)
    for place in range(n):
        keys = (keys ^ ids[place : len(ids) - n + 1 + place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


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
