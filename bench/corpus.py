"""Generates documents with planted near-duplicates for benchmarks of de-duplication."""

import string
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.curation import documents
from stages.curation.documents import Document

WORDS, VOCABULARY = 144, 30_000
PLANTED = 0.2
"""Share of documents that are edited copies of another."""
LETTERS = string.ascii_lowercase


class Corpus(NamedTuple):
    """Texts, and which pairs (original, copy) are planted."""

    texts: list[str]
    planted: list[tuple[int, int]]


def corpus(count: int, seed: int) -> Corpus:
    """`count` documents of words from Zipf's law; in each copy a span of words is replaced, such that the Jaccard
    similarity of 5-grams is between 0.5 and 1."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    originals = round((1 - PLANTED) * count)
    draw = generator.choice(VOCABULARY, size=(count, WORDS), p=weights / weights.sum())
    planted = []
    for copy in range(originals, count):
        original = int(generator.integers(0, originals))
        draw[copy] = draw[original]
        length = round(WORDS / 3 * float(generator.random()))
        start = int(generator.integers(0, WORDS - length + 1))
        draw[copy, start : start + length] = generator.choice(VOCABULARY, size=length)
        planted.append((original, copy))
    words = [word(number) for number in range(VOCABULARY)]
    return Corpus([" ".join([words[number] for number in row]) for row in draw.tolist()], planted)


def word(number: int) -> str:
    """A word of letters, because some tools treat all numbers as one word. Frequent words are short."""
    letters = ""
    while number or not letters:
        number, letter = divmod(number, len(LETTERS))
        letters += LETTERS[letter] + ("" if len(letters) % 2 else "a")
    return letters


def store(made: Corpus, directory: Path, shards: int) -> Path:
    """Writes the documents as an artifact of curation, in random order."""
    sources = {copy: original for original, copy in made.planted}
    order = np.random.default_rng(len(made.texts)).permutation(len(made.texts)).tolist()
    directory.mkdir(parents=True)
    for shard in range(shards):
        chosen = order[shard::shards]
        rows = [_document(number, made.texts[number], sources.get(number)) for number in chosen]
        documents.write_documents(directory / documents.file_name(shard), rows)
    return directory


def name(number: int) -> str:
    """The address of a document."""
    return f"https://site-{number}.example/"


def _document(number: int, text: str, source: int | None) -> Document:
    return {
        "id": f"{(number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}",
        "url": name(number),
        "host": f"site-{number}.example",
        "date": "2024-01-01T00:00:00Z",
        "source": "generated",
        "media": "html",
        "planted_from": None if source is None else name(source),
        "text": text,
        "code": [],
        "language": "en",
        "language_score": 1.0,
    }
