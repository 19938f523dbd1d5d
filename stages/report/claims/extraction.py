"""The claim on text extraction (3.1.1): this parser against two libraries on pages whose main text is known."""

from stages.report.evidence import Evidence
from stages.report.verdict import ABOVE, ClaimFamily, Finding, finding, weakest, with_secondary

LIBRARIES = ("resiliparse", "trafilatura")
PAGE_GROUPS = {
    "real": "real pages",
    "technical, real": "real pages with code or math",
    "other, real": "other real pages",
    "technical": "pages with code or math, real and generated",
    "other": "other pages",
    "generated": "generated pages",
}
"""Groups of labelled pages, the headline's group first; a run may lack some."""

claims = ClaimFamily()


@claims.register(
    "data-01",
    "3.1.1",
    "The custom parser keeps code and math and drops boilerplate better than third-party parsers",
    paper="yes, by human evaluation",
)
def compare_parsers(evidence: Evidence) -> Finding:
    """On real pages, against the better library; the pages from this repository's own templates are secondary."""
    measured = evidence.metric("gold", "ahead")
    headline, *others = [group for group in PAGE_GROUPS if group in measured]

    def compare(group: str) -> list[Finding]:
        return [
            finding(
                measured[group][library], "F1", f"ours minus {library}, {PAGE_GROUPS[group]}", ABOVE, over="documents"
            )
            for library in LIBRARIES
        ]

    scores = evidence.metric("gold", "scores", headline)
    code = ", ".join(
        f"{parser} {scores[parser]['code']['value']:.0%}"
        for parser in ("ours", *LIBRARIES)
        if scores[parser].get("code")
    )
    kept = f" Code lines kept with their indentation: {code}." if code else ""
    detail = f"F1 of word {evidence.metric('gold', 'ngram')}-grams, paired by page.{kept}"
    found = weakest(compare(headline), detail=detail)
    return with_secondary(found, (one for group in others for one in compare(group)))
