"""A context for tests and notebooks: keeps what a stage says in lists."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from stages.interface import A, B, Curve, Kind, Row


class Recorder:
    """Satisfies `stages.interface.Context`; runs `map` in a plain loop."""

    def __init__(self, scratch: Path, **item: str) -> None:
        self.item: Mapping[str, str] = item
        self.scratch = scratch
        self.points: list[tuple[int, dict[str, float]]] = []
        self.tables: dict[str, list[Row]] = {}
        self.notes: list[str] = []
        self.parts: dict[str, dict[str, Row]] = {}

    @property
    def cache(self) -> Path:
        """Made when it is asked for."""
        path = self.scratch / "cache"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def progress(self, name: str, done: float, total: float) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.points.append((step, dict(values)))

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self.tables[name] = list(rows)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def part(self, name: str, parameters: Row, values: Row, curve: Curve = ()) -> None:
        self.parts[name] = {"parameters": parameters, "values": values, "curve": dict(curve)}

    def map(self, name: str, function: Callable[[A], B], items: Iterable[A], kind: Kind = "thread") -> list[B]:
        return [function(item) for item in items]
