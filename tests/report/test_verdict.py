"""Verdicts of intervals."""

import pytest

from stages.report.verdict import Expectation, Finding, judge

ABOVE, BELOW = Expectation("above", 0.5), Expectation("below", 0.5)
WITHIN = Expectation("within", 0.5)


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (0.6, 0.9, ABOVE, "shown"),
        (0.4, 0.9, ABOVE, "not shown at this scale"),
        (0.5, 0.9, ABOVE, "not shown at this scale"),
        (0.1, 0.4, ABOVE, "contradicted"),
        (0.1, 0.4, BELOW, "shown"),
        (0.1, 0.6, BELOW, "not shown at this scale"),
        (0.6, 0.9, BELOW, "contradicted"),
        (-0.4, 0.3, WITHIN, "shown"),
        (-0.4, 0.6, WITHIN, "not shown at this scale"),
        (0.6, 0.9, WITHIN, "contradicted"),
        (-0.9, -0.6, WITHIN, "contradicted"),
        (1.0, 1.0, Expectation("above", is_exact=True), "exact"),
        (0.0, 0.0, Expectation("above", is_exact=True), "not shown at this scale"),
        (2.0, 2.0, Expectation("below", 1.0, is_exact=True), "contradicted"),
    ],
)
def test_judge(low: float, high: float, expected: Expectation, verdict: str) -> None:
    assert judge(low, high, expected) == verdict


def test_inconclusive_finding_shows_nothing() -> None:
    finding = Finding("effect", "points", 0.7, 0.6, 0.9, 10, ABOVE, is_conclusive=False)
    assert finding.verdict == "not shown at this scale"


def test_secondary_finding_has_no_verdict() -> None:
    assert Finding("rate", "%", 0.7, 0.6, 0.9, 10).verdict is None
