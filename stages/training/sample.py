"""A sample of a batch in readable form: its name, its tokens, and which of them count in the loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class LabeledSequence:
    """Tokens [T] of a sequence, and for each whether the loss counts it as a target, [T]."""

    tokens: Sequence[int]
    is_target: Sequence[bool]

    @classmethod
    def from_targets(cls, tokens: Sequence[int], targets: Sequence[int], ignore: int) -> "LabeledSequence":
        """From tokens and targets, [T] each: the target at a position is the token at the next one, or `ignore`."""
        return cls(list(tokens), [False, *(target != ignore for target in targets[:-1])])

    def segments(self) -> Iterator[tuple[bool, list[int]]]:
        """(whether they are targets, tokens) of each stretch of the sequence."""
        for is_target, segment in groupby(zip(self.is_target, self.tokens, strict=True), key=lambda pair: pair[0]):
            yield is_target, [token for _, token in segment]


@dataclass(frozen=True)
class Sample:
    """One sample of a step."""

    name: str
    """Identifies it: bucket and window, or the number of the dialog."""
    sequences: Mapping[str, LabeledSequence]
    """By role: a single one, or the two of a preference pair."""
