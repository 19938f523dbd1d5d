"""Claims, findings and verdicts: what a measured effect says about a claim of the paper."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from stages import statistics
from stages.report.evidence import Evidence

Verdict = Literal[
    "shown",
    "shown in this run",
    "exact",
    "not shown at this scale",
    "contradicted",
    "cannot be measured here",
    "not run",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Population = Literal["prompts", "documents", "seeds", "budgets", "participants", "timings", "simulations", "nothing"]
"""What an interval generalises over: it says how the number would differ with others of these."""
MIN_SEEDS = 3
"""Training runs that a claim on a choice of training needs to be "shown"."""
SIGNIFICANCE = 0.025
"""Of a one-sided test: an interval of 95% excludes the bound."""


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


@dataclass(frozen=True)
class Control:
    """A measurement that shows whether the effect can be measured at all."""

    name: str
    value: float
    unit: str
    is_passed: bool


@dataclass(frozen=True)
class JudgeError:
    """The error of the judge that a rate rests on, measured on labelled answers."""

    judge: str
    sensitivity: Mapping[str, float]
    specificity: Mapping[str, float]
    n: int


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
    generalises_over: Population = "nothing"
    cluster: str = ""
    """What the values of one cluster share ("deeds", "problems"); empty for independent values."""
    num_clusters: int | None = None
    control: Control | None = None
    judge_error: JudgeError | None = None
    is_training_choice: bool = False
    """True if the claim compares choices of training: then an interval over prompts is one run's."""
    secondary: tuple["Finding", ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        if self.expected is None:
            return None
        if self.control and not self.control.is_passed:
            return "cannot be measured here"
        if not self.is_conclusive:
            return "not shown at this scale"
        verdict = judge(self.low, self.high, self.expected)
        has_seeds = self.generalises_over == "seeds" and self.n >= MIN_SEEDS
        return "shown in this run" if verdict == "shown" and self.is_training_choice and not has_seeds else verdict

    @property
    def p(self) -> float | None:
        """One-sided p of "the effect is on the paper's side"; None for a number that is not tested."""
        if self.expected is None or self.expected.is_exact:
            return None
        bound = self.expected.bound
        if self.expected.side == "within":
            return max(self._p_above(-bound), self._p_below(bound))
        return self._p_above(bound) if self.expected.side == "above" else self._p_below(bound)

    @property
    def p_contradicted(self) -> float | None:
        """One-sided p of "the effect is on the other side"."""
        if self.expected is None or self.expected.is_exact:
            return None
        bound = self.expected.bound
        if self.expected.side == "within":
            return min(self._p_below(-bound), self._p_above(bound))
        return self._p_below(bound) if self.expected.side == "above" else self._p_above(bound)

    def _p_above(self, bound: float) -> float:
        return statistics.one_sided_p(self.value, bound, self.value - self.low, self._degrees_of_freedom)

    def _p_below(self, bound: float) -> float:
        return statistics.one_sided_p(-self.value, -bound, self.high - self.value, self._degrees_of_freedom)

    @property
    def _degrees_of_freedom(self) -> int | None:
        """Of the t interval over seeds or clusters; None for a normal one."""
        num_groups = self.n if self.generalises_over == "seeds" else self.num_clusters
        return num_groups - 1 if num_groups is not None and num_groups > 1 else None


def finding(
    interval: Mapping[str, float],
    unit: str,
    quantity: str,
    expected: Expectation | None = None,
    *,
    detail: str = "",
    is_conclusive: bool = True,
    over: Population = "nothing",
    cluster: str = "",
    control: Control | None = None,
    judge_error: JudgeError | None = None,
    secondary: Iterable[Finding] = (),
) -> Finding:
    """A finding from an interval: value, low, high, n, and clusters where its values have clusters."""
    value, low, high = (float(interval[key]) for key in ("value", "low", "high"))
    return Finding(
        quantity,
        unit,
        value,
        low,
        high,
        int(interval["n"]),
        expected,
        detail,
        is_conclusive,
        over,
        cluster,
        int(interval["clusters"]) if "clusters" in interval else None,
        control,
        judge_error,
        secondary=tuple(secondary),
    )


def weakest(findings: Sequence[Finding], **changes: object) -> Finding:
    """The finding that supports the paper least, for a claim on all of them; the others become its first secondary
    findings. Its p is the p of "all are on the paper's side". `changes`: other fields of the result."""
    least = max(findings, key=lambda found: found.p or 0.0)
    others = (*(other for other in findings if other is not least), *least.secondary)
    return replace(least, secondary=others, **changes)  # type: ignore[arg-type]


def with_secondary(found: Finding, secondary: Iterable[Finding]) -> Finding:
    """The finding with further secondary numbers at the end."""
    return replace(found, secondary=(*found.secondary, *secondary))


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
    is_training_choice: bool = False
    """True if the claim compares choices of training, so that one run does not show it."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """What the run says about the claim; raises NotMeasured."""
        found = self.measure(evidence)
        if not self.is_training_choice:
            return found
        secondary = tuple(replace(other, is_training_choice=True) for other in found.secondary)
        return replace(found, is_training_choice=True, secondary=secondary)


class ClaimFamily(list[Claim]):
    """The claims of one module."""

    def register(
        self, id: str, section: str, statement: str, paper: str, is_training_choice: bool = False
    ) -> Callable[[Measure], Measure]:
        """Decorator: the function measures this claim."""

        def append(measure: Measure) -> Measure:
            self.append(Claim(id, section, statement, paper, measure, is_training_choice))
            return measure

        return append
