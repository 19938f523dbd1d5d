"""The records of post-training data, and their files (JSON lines)."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

from stages.interface import StageError
from stages.tasks.example import Example

Source = Literal["annotator", "rejection sampling"]


class JsonRecord(Protocol):
    """A record that can be written as a line of JSON."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self: ...


R = TypeVar("R", bound=JsonRecord)


@dataclass(frozen=True)
class Demonstration:
    """A prompt and a response to imitate (4.1.3)."""

    example: Example
    response: str
    source: Source

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Demonstration":
        return cls(Example.from_json(record["example"]), record["response"], record["source"])


@dataclass(frozen=True)
class Preference:
    """Two responses to a prompt, and an edited one if the better of them was not good (4.2.1).

    Chosen and rejected are the same text where the responses were equally wrong and one was edited.
    """

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
    def from_json(cls, record: dict[str, Any]) -> "Preference":
        return cls(**{**record, "example": Example.from_json(record["example"])})


def write_records(path: Path, records: Iterable[JsonRecord]) -> None:
    """Writes one record per line."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True) + "\n")


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Reads the records of a file that `write_records` wrote; StageError if there is no such file."""
    if not path.exists():
        raise StageError(f"{path} does not exist; run `dvc repro` to make it")
    with path.open(encoding="utf-8") as file:
        return [kind.from_json(json.loads(line)) for line in file]
