"""One sample of a batch as people look at it: its name, its tokens, and which of them count in the loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Row:
    """Tokens [T] of one sequence, and for each whether it is the target of the one before it, [T]."""

    tokens: Sequence[int]
    counted: Sequence[bool]

    @classmethod
    def of(cls, tokens: Sequence[int], targets: Sequence[int], ignore: int) -> "Row":
        """From tokens and their targets, [T] each: the target at a place is the token at the next one."""
        return cls(list(tokens), [False, *(target != ignore for target in targets[:-1])])

    def runs(self) -> Iterator[tuple[bool, list[int]]]:
        """(whether they count, tokens) of each stretch of the sequence."""
        for counted, run in groupby(zip(self.counted, self.tokens, strict=True), key=lambda pair: pair[0]):
            yield counted, [token for _, token in run]


@dataclass(frozen=True)
class Sample:
    """What one sample of a step is made of."""

    name: str
    """Which it is: bucket and window, or the number of the dialog."""
    rows: Mapping[str, Row]
    """Its sequences under their roles: one, or the two that are compared."""
