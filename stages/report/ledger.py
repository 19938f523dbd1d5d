"""The claims ledger: one record per claim with the paper's value, this run's value and interval, and the verdict.

A column that describes the claim is a field of `Claim`, one that describes the measurement a field of `Finding`;
`build_ledger` adds a column that depends on all claims.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stages import statistics
from stages.report.claims import CLAIMS
from stages.report.claims.ablations import prefer_seeds
from stages.report.evidence import Evidence, NotMeasured
from stages.report.verdict import SIGNIFICANCE, Claim, Finding

DIGITS = 6
UNTESTED = ("cannot be measured here", "not run")


def build_ledger(evidence: Evidence) -> list[dict[str, Any]]:
    """One record per claim, as in claims.json."""
    found = [measure_claim(claim, evidence) for claim in CLAIMS]
    return adjust_verdicts(found)


def measure_claim(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """The claim's record; the verdict is "not run", with the reason, if the run did not measure it."""
    columns = {"id": claim.id, "section": claim.section, "statement": claim.statement, "paper": claim.paper}
    try:
        found = claim.evaluate(evidence)
        if claim.is_training_choice and found.generalises_over != "seeds":
            found = prefer_seeds(evidence, claim.id, found)
    except NotMeasured as reason:
        names = ("value", "low", "high", "n", "expected", "clusters", "control", "judge_error", "p", "p_contradicted")
        text = {"verdict": "not run", "unit": "", "quantity": "", "detail": f"Not measured: {reason}."}
        return columns | dict.fromkeys(names) | text | {"generalises_over": "nothing", "secondary": []}
    return columns | format_finding(found) | {"secondary": [format_finding(other) for other in found.secondary]}


def format_finding(found: Finding) -> dict[str, Any]:
    """A finding as JSON values, without its secondary findings."""
    expected = found.expected and {"side": found.expected.side, "bound": round(found.expected.bound, DIGITS)}
    clusters = None if found.num_clusters is None else {"n": found.num_clusters, "of": found.cluster}
    control = found.control and {
        "name": found.control.name,
        "value": round(found.control.value, DIGITS) + 0.0,
        "unit": found.control.unit,
        "passed": found.control.is_passed,
    }
    return {
        "quantity": found.quantity,
        "value": round(found.value, DIGITS) + 0.0,  # + 0.0: no negative zero
        "low": round(found.low, DIGITS) + 0.0,
        "high": round(found.high, DIGITS) + 0.0,
        "n": found.n,
        "unit": found.unit,
        "generalises_over": found.generalises_over,
        "clusters": clusters,
        "judge_error": found.judge_error and asdict(found.judge_error),
        "control": control,
        "expected": expected,
        "p": found.p,
        "p_contradicted": found.p_contradicted,
        "verdict": found.verdict,
        "detail": found.detail,
    }


def adjust_verdicts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds adjusted_p and adjusted_verdict: Holm's adjustment over all claims that have an interval and were tested.

    A verdict "shown" or "contradicted" whose adjusted p is above 2.5% becomes "not shown at this scale".
    """
    family = [record for record in records if is_tested(record)]
    adjusted = {
        key: dict(zip([one["id"] for one in family], statistics.holm([one[key] for one in family]), strict=True))
        for key in ("p", "p_contradicted")
        if family
    }
    result = []
    for record in records:
        verdict, p = record["verdict"], None
        if is_tested(record):
            p = adjusted["p_contradicted" if verdict == "contradicted" else "p"][record["id"]]
            if verdict != "not shown at this scale" and p > SIGNIFICANCE:
                verdict = "not shown at this scale"
        columns = {key: value for key, value in record.items() if key not in ("p_contradicted", "secondary")}
        columns["p"] = record["p"] if is_tested(record) else None
        secondary = [{k: v for k, v in other.items() if k != "p_contradicted"} for other in record["secondary"]]
        result.append(columns | {"adjusted_p": p, "adjusted_verdict": verdict, "secondary": secondary})
    return result


def is_tested(record: Mapping[str, Any]) -> bool:
    """Whether the claim has an interval and belongs to the family that Holm's method adjusts."""
    return record["p"] is not None and record["verdict"] not in UNTESTED


def summarise_family(records: list[dict[str, Any]]) -> dict[str, float]:
    """How many claims were tested together, and how many of them chance alone would show if no effect were real."""
    tested = sum(map(is_tested, records))
    return {"tested": tested, "shown_by_chance": round(SIGNIFICANCE * tested, 2)}
