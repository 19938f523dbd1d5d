"""One problem of a generated task, and the split of the data that it belongs to."""

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Split = Literal["web", "sft", "preference", "test", "validation"]

Space = Literal["open", "small", "facts"]
"""How the problems of a task are divided among the splits.

open: every split has problems of its own, also the web (pretraining pages).
small: too few problems for that. Test and validation have problems of their own; the web has all others, which sft and
preference divide among themselves.
facts: as small, but the problem is a question in one phrasing: a model cannot know what it never read, so the web has
every fact, and test asks for it in words that are not on the web.
"""
SHARES: dict[Space, tuple[tuple[Split, float], ...]] = {
    "open": (("test", 0.15), ("preference", 0.15), ("sft", 0.20), ("validation", 0.05), ("web", 0.45)),
    "small": (("test", 0.15), ("preference", 0.32), ("sft", 0.48), ("validation", 0.05)),
    "facts": (("test", 0.30), ("preference", 0.25), ("sft", 0.35), ("validation", 0.10)),
}
"""Share of the problems that each split has."""


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
    """A random example, the canonical form of its problem, and the space that the problem belongs to."""

    example: Example
    problem: str
    space: Space = "open"


def is_in_split(split: Split, candidate: Candidate, task: str) -> bool:
    """True if `split` may use the problem. The hash of its canonical form alone decides."""
    digest = hashlib.blake2b(f"{task}/{candidate.problem}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    shares = SHARES[candidate.space]
    ends = itertools.accumulate(share for _, share in shares)
    owner = next((name for (name, _), end in zip(shares, ends, strict=True) if point < end), shares[-1][0])
    if split == "web" and candidate.space != "open":
        return owner not in ("test", "validation")
    return owner == split
