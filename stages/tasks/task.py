"""What a module in `definitions` provides: the facts of a task, and functions that draw and grade its examples."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stages.tasks.example import Candidate, Example, Split


@dataclass(frozen=True)
class TaskInfo:
    """All facts about a task. Lists of tasks and sources elsewhere are derived from them."""

    name: str
    order: int
    """Position in every list of tasks. A new task takes the next number, so that earlier tasks keep their samples."""
    sites: tuple[str, ...]
    """Hosts of its web pages."""
    topics: tuple[str, ...]
    """Subjects in the titles and introductions of its web pages."""
    domain: Literal["general", "math", "reasoning", "code", "code_in_text"]
    """The domain that its web pages are examples of (curation.classification.bucket)."""
    is_quality_positive: bool
    """Whether its web pages are positive examples for the quality classifier."""
    levels: tuple[str, str] = ("easy", "hard")
    hard_share: float = 0.4
    """Share of the second level among the examples on web pages."""
    is_helpful: bool = True
    """Whether post-training and evaluation use it: every prompt has a right answer."""
    is_verified: bool = False
    """Whether rejection sampling keeps only answers that `grade` finds right (4.3.1, 4.3.3: code and reasoning)."""
    is_code: bool = False
    """Whether web pages show its answers as code listings."""


class Task(Protocol):
    """A task module."""

    INFO: TaskInfo

    def draw(self, generator: random.Random, level: str, split: Split) -> Candidate:
        """A random problem of this level; the caller keeps it only if `is_in_split`."""
        ...

    def grade(self, examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
        """Credit in [0, 1] per response; 1.0 exactly if the response is right."""
        ...

    def statement(self, example: Example) -> str:
        """The problem and its answer as one declarative sentence or phrase, as a web page would put it."""
        ...
