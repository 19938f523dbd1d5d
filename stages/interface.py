"""What every stage of the DAG looks like.

A stage is one module with two names in it::

    @dataclass(frozen=True)
    class Config:                                     # the parameters it reads, and no others
        seed: Annotated[int, "seed"]                  # the string is the key in params.yaml or scales/<scale>.yaml
        dedup: Annotated[Dedup, "curation.dedup"]     # a Section, defined in the same file

    def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics: ...

It reads `inputs` (name -> path), writes `outputs` (name -> path of a directory that exists and is empty, or of a file),
tells `context` how it is getting on, and returns its metrics: JSON values that depend on inputs, parameters and code
only, never on the clock. It knows neither who watches it nor who started it, so a test calls it as DVC does.
"""

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

Paths = Mapping[str, Path]
Metrics = dict[str, Any]
Record = Mapping[str, Any]
Curve = Sequence[tuple[int, float]]
"""(step, value), in order."""
WorkerKind = Literal["thread", "process"]
T = TypeVar("T")
R = TypeVar("R")


class Section(BaseModel):
    """One section of the parameters: unknown keys are refused, values are read-only, every field has a docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    result_neutral: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no result: partial state of a run with others is gone on with."""


class StageError(Exception):
    """The stage cannot go on: says what, where, and what to do. Printed without a traceback."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full; safetensors hands the system's error on in words only."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in full
    return any(f"(os error {number})" in str(error) for number in full)


class Context(Protocol):
    """What a stage may say while it works, and what it may ask for. Every method is cheap and never raises."""

    item: Mapping[str, str]
    """Which one of a matrix of stages this is, for example {"member": "flagship"}."""

    scratch: Path
    """A directory for partial state that survives a killed process; private to these parameters, inputs and code."""

    cache: Path
    """A directory for finished parts of the work that later runs may take up, whatever their parameters and inputs;
    private to this stage and its code. A file's name holds a hash of all else that decides its content, and it is there
    whole or not at all."""

    def progress(self, name: str, done: float, total: float) -> None:
        """`done` of `total` of the step `name` is finished."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point on each named curve."""

    def table(self, name: str, rows: Sequence[Record]) -> None:
        """A small table for people."""

    def note(self, text: str) -> None:
        """One line for people."""

    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None:
        """A finished part of the work that people look at by itself, such as one model of a sweep: kept as a run below
        the stage's, with its parameters, its results, and its loss over the steps."""

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        """`[function(i) for i in items]`, in order, on the workers of this run; `name` and the index name a task.

        "process" needs a function and items that pickle; its results must not depend on which worker ran them.
        """
        ...
