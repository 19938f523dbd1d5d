"""Claims and verdicts: what a measured effect says of what the paper says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from stages.report.evidence import Evidence

Verdict = Literal["shown", "exact", "not shown at this scale", "contradicted", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Expectation:
    """Which effect would bear the paper out."""

    side: Literal["above", "below", "within"]
    """Above the bound, below it, or no further from 0 than it."""
    bound: float = 0.0
    """In the effect's unit."""
    exact: bool = False
    """A count or a sum, without an interval."""


def judge(low: float, high: float, expected: Expectation) -> Verdict:
    """shown where the whole interval lies on the paper's side of the bound, contradicted where it lies on the other
    side, else not shown at this scale. An exact fact on the paper's side is exact."""
    bound = expected.bound
    if expected.side == "within":
        paper, other = -bound <= low and high <= bound, high < -bound or low > bound
    elif expected.side == "above":
        paper, other = low > bound, high < bound
    else:
        paper, other = high < bound, low > bound
    if paper:
        return "exact" if expected.exact else "shown"
    return "contradicted" if other else "not shown at this scale"


@dataclass(frozen=True)
class Finding:
    """An effect with its 95% interval."""

    compared: str
    """What was measured, or what minus what."""
    unit: str
    ours: float
    low: float
    high: float
    n: int
    expected: Expectation | None = None
    """None for a number that stands beside the claim and decides nothing."""
    detail: str = ""
    conclusive: bool = True
    """False where the interval is known not to cover 95%: then nothing is shown."""
    also: tuple["Finding", ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        if self.expected is None:
            return None
        return judge(self.low, self.high, self.expected) if self.conclusive else "not shown at this scale"


def finding(
    interval: Mapping[str, float],
    unit: str,
    compared: str,
    expected: Expectation | None = None,
    *,
    detail: str = "",
    conclusive: bool = True,
    also: tuple[Finding, ...] = (),
) -> Finding:
    """A finding from value, low, high and n."""
    value, low, high = (float(interval[key]) for key in ("value", "low", "high"))
    return Finding(compared, unit, value, low, high, int(interval["n"]), expected, detail, conclusive, also)


def exactly(
    value: float,
    n: int,
    unit: str,
    compared: str,
    expected: Expectation,
    detail: str = "",
    also: tuple[Finding, ...] = (),
) -> Finding:
    """A finding without uncertainty."""
    return Finding(compared, unit, value, value, value, n, expected, detail, also=also)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how it is measured; `measure` raises Missing where the run lacks what it needs."""

    id: str
    section: str
    statement: str
    paper: str
    measure: Callable[[Evidence], Finding]


ABOVE, BELOW = Expectation("above"), Expectation("below")
