"""A context for one of many trainings that a stage fans out: nobody watches each of their steps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from stages.interface import A, B, Curve, Kind, Row


class Silent:
    """Satisfies `stages.interface.Context` and says nothing; the stage's own bar counts the trainings."""

    def __init__(self, scratch: Path) -> None:
        self.item: Mapping[str, str] = {}
        self.scratch = self.cache = scratch

    def progress(self, name: str, done: float, total: float) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: Sequence[Row]) -> None: ...
    def note(self, text: str) -> None: ...
    def part(self, name: str, parameters: Row, values: Row, curve: Curve = ()) -> None: ...
    def map(self, name: str, function: Callable[[A], B], items: Iterable[A], kind: Kind = "thread") -> list[B]:
        raise NotImplementedError("a training in a worker does not fan out")
