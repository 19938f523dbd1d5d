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
)
from stages.report.verdict import Claim

FAMILIES = (extraction, data, scaling, pretraining, posttraining, safety, contamination, paper, ablations)
"""In the ledger's order."""
CLAIMS: tuple[Claim, ...] = tuple(claim for family in FAMILIES for claim in family.claims)
