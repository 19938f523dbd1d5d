"""The rows of post-training data, and their files (JSON lines)."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

from stages.interface import StageError
from stages.tasks.example import Example

Source = Literal["annotator", "rejection sampling"]


class JsonRow(Protocol):
    """What can be a line of a file."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self: ...


R = TypeVar("R", bound=JsonRow)


@dataclass(frozen=True)
class Demonstration:
    """A prompt and a response worth imitating (4.1.3)."""

    example: Example
    response: str
    source: Source

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Demonstration":
        return cls(Example.from_json(row["example"]), row["response"], row["source"])


@dataclass(frozen=True)
class Preference:
    """Two responses to a prompt, and an edited one where the better of them was not good (4.2.1)."""

    example: Example
    chosen: str
    rejected: str
    edited: str | None
    strength: int
    """4 significantly better, 3 better, 2 slightly better, 1 marginally better."""
    round: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Preference":
        return cls(**{**row, "example": Example.from_json(row["example"])})


def write_rows(path: Path, rows: Iterable[JsonRow]) -> None:
    """One row a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row.to_json(), ensure_ascii=False, sort_keys=True) + "\n")


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """The rows of a file that `write_rows` wrote."""
    if not path.exists():
        raise StageError(f"{path} does not exist; run `dvc repro` to make it")
    with path.open(encoding="utf-8") as file:
        return [kind.from_json(json.loads(line)) for line in file]
