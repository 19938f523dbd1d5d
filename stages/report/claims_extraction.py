"""The claim on extraction (3.1.1): our parser against two libraries on pages whose main text is known."""

from stages.report.evidence import Evidence
from stages.report.verdict import ABOVE, Claim, Finding, finding

PEERS = ("resiliparse", "trafilatura")


def extraction_better(evidence: Evidence) -> Finding:
    def ahead(group: str, peer: str) -> Finding:
        found = evidence.metric("gold", "ahead", group, peer)
        return finding(found, "F1", f"ours minus {peer}, {LABELS[group]}")

    scores = evidence.metric("gold", "scores", "technical")
    best = max(PEERS, key=lambda peer: float(scores[peer]["f1"]["value"]))
    also = [ahead(group, peer) for group in LABELS for peer in PEERS if (group, peer) != ("technical", best)]
    words = evidence.metric("gold", "ngram")
    detail = (
        f"F1 of word {words}-grams, paired by page; {best} is the better peer. Lines of code kept with their "
        f"indentation: ours {scores['ours']['code']['value']:.0%}, "
        + ", ".join(f"{peer} {scores[peer]['code']['value']:.0%}" for peer in PEERS)
        + "."
    )
    return finding(
        evidence.metric("gold", "ahead", "technical", best),
        "F1",
        f"ours minus {best}, {LABELS['technical']}",
        ABOVE,
        detail=detail,
        also=tuple(also),
    )


LABELS = {
    "technical": "pages with code or maths",
    "technical, real": "real pages with code or maths",
    "other": "other pages",
}

EXTRACTION = (
    Claim(
        "data-01",
        "3.1.1",
        "Own extraction keeps code and maths and drops boilerplate better than third-party parsers",
        "yes, by human evaluation",
        extraction_better,
    ),
)
