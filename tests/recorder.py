"""A context for tests and notebooks: records what a stage reports in lists."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stages.interface import Curve, R, Record, T, WorkerKind

if TYPE_CHECKING:
    from stages.training.strategy import Strategy


class Recorder:
    """Implements `stages.training.strategy.TrainingContext`; runs `map` in a plain loop."""

    def __init__(self, scratch: Path, **item: str) -> None:
        self.item: Mapping[str, str] = item
        self.scratch = scratch
        self.points: list[tuple[int, dict[str, float]]] = []
        self.tables: dict[str, list[Record]] = {}
        self.notes: list[str] = []
        self.child_runs: dict[str, dict[str, Record]] = {}

    @cached_property
    def strategy(self) -> "Strategy":
        from stages.distributed.single_process import ReshardingSingleProcess  # imports torch; not every test needs it

        return ReshardingSingleProcess()

    @property
    def cache(self) -> Path:
        """Created on first access."""
        path = self.scratch / "cache"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def progress(self, name: str, done: float, total: float) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.points.append((step, dict(values)))

    def table(self, name: str, rows: Sequence[Record]) -> None:
        self.tables[name] = list(rows)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None:
        self.child_runs[name] = {"parameters": parameters, "values": values, "curve": dict(curve)}

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        return [function(item) for item in items]
