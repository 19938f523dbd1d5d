"""The interface of a stage of the DAG.

A stage is a module that defines two names::

    @dataclass(frozen=True)
    class Config:                                     # exactly the parameters it reads
        seed: Annotated[int, "seed"]                  # the string is the key in params.yaml or scales/<scale>.yaml
        dedup: Annotated[Dedup, "curation.dedup"]     # a Section, defined in the same file

    def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics: ...

It reads `inputs` (name -> path), writes `outputs` (name -> path of an empty directory, or of a file), reports progress
to `context`, and returns its metrics: JSON values that depend on inputs, parameters and code only, never on the clock.
It does not depend on who started it, so a test calls it as DVC does.
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
    """A section of the parameters: unknown keys are refused, values are read-only, every field has a docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    result_neutral: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not affect results: a stage resumes from partial state made with other values of them."""


class StageError(Exception):
    """The stage cannot continue: says what is wrong, where, and what to do. Printed without a traceback."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full; safetensors passes the system's error on as text only."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in full
    return any(f"(os error {number})" in str(error) for number in full)


class Context(Protocol):
    """What a stage reports to while it runs, and its resources. Every method is cheap and never raises."""

    item: Mapping[str, str]
    """Which item of a matrix of stages this is, for example {"member": "flagship"}."""

    scratch: Path
    """A directory for partial state that survives a killed process; specific to these parameters, inputs and code."""

    cache: Path
    """A directory for intermediate results that later runs may reuse, whatever their parameters and inputs; specific to
    this stage and its code. A file's name holds a hash of everything else that determines its content, and files are
    written atomically."""

    def progress(self, name: str, done: float, total: float) -> None:
        """Reports that `done` of `total` of the step `name` are finished."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs a point on each named curve."""

    def table(self, name: str, rows: Sequence[Record]) -> None:
        """Shows a small table."""

    def note(self, text: str) -> None:
        """Shows one line of text."""

    def log_child_run(self, name: str, parameters: Record, values: Record, curve: Curve = ()) -> None:
        """Logs a finished part of the work, such as one model of a sweep, as a child of the stage's run: its
        parameters, its results, and its loss over the steps."""

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        """`[function(i) for i in items]`, in order, on the workers of this run; a task is named `name` and its index.

        "process" needs a function and items that can be pickled, and results that do not depend on the worker.
        """
