"""The ledger: each claim of the paper that the run measures, the paper's value, ours with its interval, the verdict."""

from typing import Any

from stages.report.claims_ablations import ABLATIONS
from stages.report.claims_contamination import CONTAMINATION
from stages.report.claims_extraction import EXTRACTION
from stages.report.claims_paper import PAPER
from stages.report.claims_posttraining import POSTTRAINING
from stages.report.claims_pretraining import DATA, PRETRAINING
from stages.report.claims_safety import SAFETY
from stages.report.claims_scaling import SCALING
from stages.report.evidence import Evidence, Missing
from stages.report.verdict import Claim, Finding

CLAIMS: tuple[Claim, ...] = (
    *EXTRACTION,
    *DATA,
    *SCALING,
    *PRETRAINING,
    *POSTTRAINING,
    *SAFETY,
    *CONTAMINATION,
    *PAPER,
    *ABLATIONS,
)
DIGITS = 6


def ledger(evidence: Evidence) -> list[dict[str, Any]]:
    """One row per claim, in the order of the paper. `also` holds what stands beside the claim's own number."""
    return [row(claim, evidence) for claim in CLAIMS]


def row(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """The claim's row; "not run" with the reason where the run did not measure it."""
    head = {"id": claim.id, "section": claim.section, "statement": claim.statement, "paper": claim.paper}
    try:
        found = claim.measure(evidence)
    except Missing as reason:
        nothing = dict.fromkeys(("ours", "low", "high", "n", "expected"))
        return (
            head
            | nothing
            | {"verdict": "not run", "unit": "", "compared": "", "detail": f"Not measured: {reason}.", "also": []}
        )
    return head | numbers(found) | {"also": [numbers(other) for other in found.also]}


def numbers(found: Finding) -> dict[str, Any]:
    """A finding as JSON values."""
    expected = found.expected and {"side": found.expected.side, "bound": round(found.expected.bound, DIGITS)}
    return {
        "compared": found.compared,
        "ours": round(found.ours, DIGITS) + 0.0,  # no negative zero
        "low": round(found.low, DIGITS) + 0.0,
        "high": round(found.high, DIGITS) + 0.0,
        "n": found.n,
        "unit": found.unit,
        "expected": expected,
        "verdict": found.verdict,
        "detail": found.detail,
    }
