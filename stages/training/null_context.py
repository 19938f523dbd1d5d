"""A context that reports nothing: for a training in a fan-out, or a rank other than the first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stages.interface import Curve, R, Record, T, WorkerKind

if TYPE_CHECKING:
    from stages.training.strategy import Strategy


class NullContext:
    """Implements `stages.training.strategy.TrainingContext`; computes, but reports nothing."""

    def __init__(self, scratch: Path, item: Mapping[str, str] | None = None) -> None:
        self.item: Mapping[str, str] = item or {}
        self.scratch = self.cache = scratch

    @cached_property
    def strategy(self) -> "Strategy":
        from stages.training.strategy import SingleProcess  # imports torch, which not every stage needs

        return SingleProcess()

    def progress(self, name: str, done: float, total: float) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: Sequence[Record]) -> None: ...
    def note(self, text: str) -> None: ...
    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None: ...
    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        return [function(item) for item in items]
