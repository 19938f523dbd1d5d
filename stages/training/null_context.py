"""A context for trainings of which nobody watches each step: one of many that a stage fans out, a rank among others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from stages.interface import A, B, Curve, Kind, Row


class Silent:
    """Satisfies `stages.interface.Context`: does what is asked for, says and shows nothing."""

    def __init__(self, scratch: Path, item: Mapping[str, str] | None = None) -> None:
        self.item: Mapping[str, str] = item or {}
        self.scratch = self.cache = scratch

    def progress(self, name: str, done: float, total: float) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: Sequence[Row]) -> None: ...
    def note(self, text: str) -> None: ...
    def part(self, name: str, parameters: Row, values: Row, curve: Curve = ()) -> None: ...
    def map(self, name: str, function: Callable[[A], B], items: Iterable[A], kind: Kind = "thread") -> list[B]:
        return [function(item) for item in items]
