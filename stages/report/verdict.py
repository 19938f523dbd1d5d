"""Claims, findings and verdicts: what a measured effect says about a claim of the paper."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from stages.report.evidence import Evidence

Verdict = Literal["shown", "exact", "not shown at this scale", "contradicted", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Expectation:
    """The range of the effect that supports the paper."""

    side: Literal["above", "below", "within"]
    """Above the bound, below the bound, or between -bound and bound."""
    bound: float = 0.0
    """In the effect's unit."""
    is_exact: bool = False
    """True for a count or a sum, which has no interval."""


ABOVE, BELOW = Expectation("above"), Expectation("below")


def judge(low: float, high: float, expected: Expectation) -> Verdict:
    """Returns "shown" if the whole interval supports the paper, "contradicted" if the whole interval is on the other
    side of the bound, else "not shown at this scale". An exact value that supports the paper is "exact"."""
    bound = expected.bound
    if expected.side == "within":
        supports, contradicts = -bound <= low and high <= bound, high < -bound or low > bound
    elif expected.side == "above":
        supports, contradicts = low > bound, high < bound
    else:
        supports, contradicts = high < bound, low > bound
    if supports:
        return "exact" if expected.is_exact else "shown"
    return "contradicted" if contradicts else "not shown at this scale"


@dataclass(frozen=True)
class Finding:
    """A measured quantity with its 95% interval. Each field that describes the measurement is a column of the ledger
    (`stages.report.ledger.format_finding`)."""

    quantity: str
    """What was measured, or what minus what."""
    unit: str
    value: float
    low: float
    high: float
    n: int
    expected: Expectation | None = None
    """None for a secondary number without a verdict."""
    detail: str = ""
    is_conclusive: bool = True
    """False if the interval is known not to cover 95%: then nothing is shown."""
    secondary: tuple["Finding", ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        if self.expected is None:
            return None
        return judge(self.low, self.high, self.expected) if self.is_conclusive else "not shown at this scale"


def finding(
    interval: Mapping[str, float],
    unit: str,
    quantity: str,
    expected: Expectation | None = None,
    *,
    detail: str = "",
    is_conclusive: bool = True,
    secondary: Iterable[Finding] = (),
) -> Finding:
    """A finding from an interval: value, low, high and n."""
    value, low, high = (float(interval[key]) for key in ("value", "low", "high"))
    n = int(interval["n"])
    return Finding(quantity, unit, value, low, high, n, expected, detail, is_conclusive, tuple(secondary))


Measure = Callable[[Evidence], Finding]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper. Each field except `measure` is a column of the ledger."""

    id: str
    section: str
    statement: str
    paper: str
    """The paper's value, or "method" if the paper gives none."""
    measure: Measure
    """Raises NotMeasured if the run lacks the results that it needs."""


class ClaimFamily(list[Claim]):
    """The claims of one module, in the ledger's order."""

    def register(self, id: str, section: str, statement: str, paper: str) -> Callable[[Measure], Measure]:
        """Decorator: the function measures this claim."""

        def append(measure: Measure) -> Measure:
            self.append(Claim(id, section, statement, paper, measure))
            return measure

        return append
