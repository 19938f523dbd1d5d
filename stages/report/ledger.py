"""The claims ledger: one record per claim with the paper's value, this run's value and interval, and the verdict.

A column that describes the claim is a field of `Claim`, one that describes the measurement a field of `Finding`;
`build_ledger` adds a column that depends on all claims.
"""

from typing import Any

from stages.report.claims import CLAIMS
from stages.report.evidence import Evidence, NotMeasured
from stages.report.verdict import Claim, Finding

DIGITS = 6


def build_ledger(evidence: Evidence) -> list[dict[str, Any]]:
    """One record per claim, as in claims.json."""
    return [measure_claim(claim, evidence) for claim in CLAIMS]


def measure_claim(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """The claim's record; the verdict is "not run", with the reason, if the run did not measure it."""
    columns = {"id": claim.id, "section": claim.section, "statement": claim.statement, "paper": claim.paper}
    try:
        found = claim.measure(evidence)
    except NotMeasured as reason:
        missing = dict.fromkeys(("value", "low", "high", "n", "expected"))
        text = {"verdict": "not run", "unit": "", "quantity": "", "detail": f"Not measured: {reason}."}
        return columns | missing | text | {"secondary": []}
    return columns | format_finding(found) | {"secondary": [format_finding(other) for other in found.secondary]}


def format_finding(found: Finding) -> dict[str, Any]:
    """A finding as JSON values, without its secondary findings."""
    expected = found.expected and {"side": found.expected.side, "bound": round(found.expected.bound, DIGITS)}
    return {
        "quantity": found.quantity,
        "value": round(found.value, DIGITS) + 0.0,  # + 0.0: no negative zero
        "low": round(found.low, DIGITS) + 0.0,
        "high": round(found.high, DIGITS) + 0.0,
        "n": found.n,
        "unit": found.unit,
        "expected": expected,
        "verdict": found.verdict,
        "detail": found.detail,
    }
