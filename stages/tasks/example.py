"""One problem of a generated task, and the split of the data that it belongs to."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Split = Literal["web", "sft", "preference", "test", "validation"]

# Share of the problems of an open space that each split has; the web (pretraining pages) has the rest.
OPEN: tuple[tuple[Split, float], ...] = (
    ("test", 0.15),
    ("preference", 0.15),
    ("sft", 0.20),
    ("validation", 0.05),
    ("web", 0.45),
)
# In a closed space the web has every problem, and the other splits share the problems among themselves.
CLOSED: tuple[tuple[Split, float], ...] = (("test", 0.30), ("preference", 0.25), ("sft", 0.35), ("validation", 0.10))


@dataclass(frozen=True)
class Example:
    """A prompt with a reference answer; `key` is the answer key: JSON values that the grader needs."""

    task: str
    level: str
    prompt: str
    answer: str
    key: dict[str, Any]

    @property
    def cluster(self) -> str:
        """The problem without its phrasing: answers to prompts of one cluster are not independent."""
        return json.dumps(self.key, sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Example":
        return cls(record["task"], record["level"], record["prompt"], record["answer"], record["key"])


class Candidate(NamedTuple):
    """A random example, the canonical form of its problem, and whether the space of problems is closed.

    A space is closed if a model cannot solve a problem that it has never seen (the German for cat) or if there are too
    few problems (one-digit sums). The web then has all of them, and the other splits are disjoint.
    """

    example: Example
    problem: str
    is_closed: bool


def is_in_split(split: Split, candidate: Candidate, task: str) -> bool:
    """True if `split` may use the problem. The hash of its canonical form alone decides."""
    if candidate.is_closed and split == "web":
        return True
    digest = hashlib.blake2b(f"{task}/{candidate.problem}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    for name, share in CLOSED if candidate.is_closed else OPEN:
        if point < share:
            return name == split
        point -= share
    return split == "web"
