"""One problem of a generated task: what is asked, a good answer, and what a verifier needs."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, Protocol

Split = Literal["web", "sft", "preference", "test", "validation"]

# Share of the problems of an open space that each split owns; the web (pretraining pages) has the rest.
OPEN: tuple[tuple[Split, float], ...] = (
    ("test", 0.15),
    ("preference", 0.15),
    ("sft", 0.20),
    ("validation", 0.05),
    ("web", 0.45),
)
# In a closed space the web shows every problem, and the other splits share the problems among themselves.
CLOSED: tuple[tuple[Split, float], ...] = (("test", 0.30), ("preference", 0.25), ("sft", 0.35), ("validation", 0.10))


@dataclass(frozen=True)
class Example:
    """A prompt with a reference answer; `key` is JSON-able and holds what the verifier needs."""

    task: str
    level: str
    prompt: str
    answer: str
    key: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Example":
        return cls(row["task"], row["level"], row["prompt"], row["answer"], row["key"])


class Draft(NamedTuple):
    """A drawn example, the canonical form of its problem, and whether the space of problems is closed.

    Closed means that a problem cannot be solved by a model that has never met it (the German for cat) or that there are
    too few of them (one-digit sums): the web may then show all of them, while the other splits stay disjoint.
    """

    example: Example
    problem: str
    closed: bool


class Skill(Protocol):
    """What each task module offers. `LEVELS` is ordered; the second level has `WEB_SHARE` of the items on web pages."""

    LEVELS: tuple[str, str]
    WEB_SHARE: float

    def draw(self, generator: random.Random, level: str, split: Split) -> Draft:
        """A random problem of this level; the caller keeps it only if `owns` gives it to the split."""
        ...

    def grade(self, examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        """Credit in [0, 1] per response; 1.0 exactly when the response is right."""
        ...

    def statement(self, example: Example) -> str:
        """The problem and its answer as one declarative sentence or phrase, as a web page would put it."""
        ...


def owns(split: Split, draft: Draft, task: str) -> bool:
    """True when `split` may use the problem of `draft`, decided by a hash of its canonical form alone."""
    if draft.closed and split == "web":
        return True
    digest = hashlib.blake2b(f"{task}/{draft.problem}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    for name, share in CLOSED if draft.closed else OPEN:
        if point < share:
            return name == split
        point -= share
    return split == "web"


def plain(text: str) -> str:
    """The response without surrounding space, quotes and final full stop, inner space collapsed, in lower case."""
    text = re.sub(r"\s+", " ", text).strip()
    return text.strip("\"'`").rstrip(".").strip().lower()


def closeness(response: str, answer: str) -> float:
    """Similarity of two plain texts in [0, 1]: twice the matching characters over all characters."""
    # SequenceMatcher is quadratic: a rambling response is as wrong at four times the answer's length as in full.
    return SequenceMatcher(None, response[: 4 * len(answer) + 8], answer, autojunk=False).ratio()


def names(text: str, phrase: str) -> bool:
    """True when `text` contains the words of `phrase` in a row, whatever their case."""
    return re.search(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text.lower()) is not None
