"""Verdicts of intervals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from stages import statistics
from stages.report.verdict import Control, Expectation, Finding, judge, weakest

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


def make_finding(value: float, half: float, expected: Expectation = ABOVE, **fields: object) -> Finding:
    return Finding("effect", "points", value, value - half, value + half, 10, expected, **fields)  # type: ignore[arg-type]


def test_choice_of_training_is_shown_from_three_seeds_only() -> None:
    by_prompts = make_finding(0.7, 0.1, is_training_choice=True, generalises_over="prompts")
    assert by_prompts.verdict == "shown in this run"
    by_seeds = replace(by_prompts, generalises_over="seeds")
    assert (by_seeds.verdict, replace(by_seeds, n=2).verdict) == ("shown", "shown in this run")
    assert replace(by_prompts, value=0.3, low=0.2, high=0.4).verdict == "contradicted"


def test_failed_control_leaves_nothing_to_say() -> None:
    control = Control("harmless mails with the same score", 97.5, "%", is_passed=False)
    for value in (0.9, 0.5, 0.1):
        assert make_finding(value, 0.05, control=control).verdict == "cannot be measured here"
        passed = replace(control, is_passed=True)
        assert make_finding(value, 0.05, control=passed).verdict == judge(value - 0.05, value + 0.05, ABOVE)


def test_claim_on_all_members_has_the_verdict_of_the_weakest() -> None:
    flagship, medium, small = (make_finding(value, 0.1, BELOW) for value in (0.1, 0.45, 0.65))
    found = weakest([flagship, medium, small])
    assert found.verdict == "contradicted" and found.value == 0.65
    assert found.secondary == (flagship, medium)
    assert weakest([flagship, medium]).verdict == "not shown at this scale"


@pytest.mark.parametrize("expected", [ABOVE, BELOW, WITHIN])
def test_p_is_below_a_fortieth_exactly_where_the_interval_excludes_the_bound(expected: Expectation) -> None:
    for value in np.linspace(-1.2, 1.2, 49):
        for fields in ({}, {"num_clusters": 5}, {"generalises_over": "seeds"}):
            found = make_finding(float(value), 0.27, expected, **fields)
            assert found.p is not None and found.p_contradicted is not None
            assert (found.p < 0.025) == (found.verdict == "shown")
            assert (found.p_contradicted < 0.025) == (found.verdict == "contradicted")


def test_p_over_few_seeds_has_the_tails_of_student() -> None:
    found = replace(make_finding(0.5 + 0.3, 0.1), generalises_over="seeds", n=3)
    t = 3 * statistics.student_t_quantile(2)
    assert found.p == pytest.approx(stats.t.sf(t, 2))


def test_exact_and_secondary_numbers_are_not_tested() -> None:
    assert make_finding(1.0, 0.0, Expectation("above", is_exact=True)).p is None
    assert Finding("rate", "%", 0.7, 0.6, 0.9, 10).p is None
