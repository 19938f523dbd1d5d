"""The paper's claims, one module per family: id, section, statement, the paper's value and how the run measures it."""

from stages.report.claims import (
    ablations,
    contamination,
    data,
    extraction,
    paper,
    posttraining,
    pretraining,
    safety,
    scaling,
    unmeasured,
)
from stages.report.verdict import Claim

FAMILIES = (extraction, data, scaling, pretraining, posttraining, safety, contamination, paper, ablations, unmeasured)
CHAPTERS = ("data", "arch", "scal", "infra", "train", "post", "safe")
"""Prefixes of the ids, in the order of the paper."""


def order_of(claim: Claim) -> tuple[int, int]:
    """The place of a claim in the ledger: its chapter, then its number."""
    chapter, number = claim.id.split("-")
    return CHAPTERS.index(chapter), int(number)


CLAIMS: tuple[Claim, ...] = tuple(sorted((claim for family in FAMILIES for claim in family.claims), key=order_of))
"""In the ledger's order."""
