"""The claim on text extraction (3.1.1): this parser against two libraries on pages whose main text is known."""

from stages.report.evidence import Evidence
from stages.report.verdict import ABOVE, ClaimFamily, Finding, finding

LIBRARIES = ("resiliparse", "trafilatura")
PAGE_GROUPS = {
    "technical": "pages with code or math",
    "technical, real": "real pages with code or math",
    "other": "other pages",
}

claims = ClaimFamily()


@claims.register(
    "data-01",
    "3.1.1",
    "The custom parser keeps code and math and drops boilerplate better than third-party parsers",
    paper="yes, by human evaluation",
)
def compare_parsers(evidence: Evidence) -> Finding:
    scores = evidence.metric("gold", "scores", "technical")
    best = max(LIBRARIES, key=lambda library: float(scores[library]["f1"]["value"]))
    pairs = [
        (group, library) for group in PAGE_GROUPS for library in LIBRARIES if (group, library) != ("technical", best)
    ]
    secondary = [
        finding(evidence.metric("gold", "ahead", *pair), "F1", f"ours minus {pair[1]}, {PAGE_GROUPS[pair[0]]}")
        for pair in pairs
    ]
    code = ", ".join(f"{parser} {scores[parser]['code']['value']:.0%}" for parser in ("ours", *LIBRARIES))
    detail = (
        f"F1 of word {evidence.metric('gold', 'ngram')}-grams, paired by page; {best} is the better library. Code "
        f"lines kept with their indentation: {code}."
    )
    return finding(
        evidence.metric("gold", "ahead", "technical", best),
        "F1",
        f"ours minus {best}, {PAGE_GROUPS['technical']}",
        ABOVE,
        detail=detail,
        secondary=secondary,
    )
