"""Claims on de-duplication and the data mix (3.1) and the tokenizer (3.2)."""

from stages import statistics
from stages.report.evidence import Evidence, NotMeasured, point, subtract, to_percent
from stages.report.verdict import ABOVE, ClaimFamily, Expectation, Finding, finding
from stages.tokenizer.corpus import BUCKETS

PAPER_MIX = {"general": 50.0, "math": 25.0, "code": 17.0, "multilingual": 8.0}
MIN_DETECTION_RATE = 90.0
"""Percent: recall and precision that de-duplication must exceed."""
MIX_TOLERANCE = 1.0
"""Percentage points by which a bucket's share may differ: the paper gives whole points."""
CHARACTERS = "characters per token"

claims = ClaimFamily()


@claims.register("data-02", "3.1.1", "URL, document and line de-duplication each remove text", paper="method")
def measure_dedup_shares(evidence: Evidence) -> Finding:
    removed = evidence.metric("dedup", "removed")
    documents, size = evidence.metric("dedup", "documents_in"), evidence.metric("dedup", "bytes_in")
    shares = {step: 100 * removed[step]["bytes"] for step in ("url", "document", "line")}
    expected = Expectation("above", is_exact=True)
    least = min(shares, key=lambda step: shares[step])
    return finding(
        point(shares[least], documents),
        "% of bytes",
        f"share of text removed by the step that removes least ({least})",
        expected,
        detail=f"Of {size / 1e6:.1f} MB: " + ", ".join(f"{step} {share:.2f}%" for step, share in shares.items()) + ".",
        secondary=[
            finding(point(share, documents), "% of bytes", f"removed by {step} de-duplication", expected)
            for step, share in shares.items()
        ],
    )


@claims.register("data-03", "3.1.1", "Near-duplicates are found", paper="method")
def measure_near_duplicate_recall(evidence: Evidence) -> Finding:
    near = evidence.metric("dedup", "minhash")
    planted = near["planted"]
    if not planted["similar"]:
        raise NotMeasured("no planted copy is similar enough to its original")
    expected = Expectation("above", MIN_DETECTION_RATE)
    secondary = []
    if near["removed"]:
        precision = to_percent(statistics.wilson(near["removed_similar"], near["removed"]))
        quantity = "precision: removed documents whose similarity to the kept document reaches the threshold"
        secondary = [finding(precision, "%", quantity, expected, over="documents")]
    return finding(
        to_percent(statistics.wilson(planted["found"], planted["similar"])),
        "%",
        "recall: planted copies above the threshold that are in one cluster with their original",
        expected,
        detail=f"MinHash with {near['bands']} bands of {near['rows']} rows; {near['candidate_pairs']:,} candidate "
        f"pairs, {near['verified_pairs']:,} of them verified by exact Jaccard similarity.",
        over="documents",
        secondary=secondary,
    )


@claims.register(
    "data-07", "3.1.2", "The final mix of general, math, code and multilingual tokens", paper="50 / 25 / 17 / 8"
)
def measure_data_mix(evidence: Evidence) -> Finding:
    tokens = evidence.metric("flagship/initial", "tokens_by_bucket")
    total = sum(tokens.values())
    shares = {bucket: 100 * tokens[bucket] / total for bucket in BUCKETS}
    deviation = max(abs(shares[bucket] - PAPER_MIX[bucket]) for bucket in BUCKETS)
    epochs = evidence.metric("flagship/initial", "epochs_by_bucket")
    detail = (
        f"Mix of the {total:,} training tokens: {' / '.join(f'{shares[bucket]:.1f}' for bucket in BUCKETS)}; epochs: "
        + ", ".join(f"{bucket} {epochs[bucket]:.2g}" for bucket in BUCKETS)
        + "."
    )
    if deviation > MIX_TOLERANCE:
        max_epochs = evidence.metric("flagship/initial", "epochs_allowed")
        detail += f" A bucket is repeated for at most {max_epochs:g} epochs; the other buckets fill what it lacks."
    secondary = []
    if generated := evidence.find_metric("encode", "generated"):
        shares_of_text = ", ".join(f"{bucket} {100 * generated[bucket]:.0f}%" for bucket in (*BUCKETS, "all"))
        detail += f" Share of generated pages in the tokens: {shares_of_text}."
        secondary = [finding(point(100 * generated[b]), "%", f"generated pages in {b}") for b in (*BUCKETS, "all")]
    else:
        detail += " The share of generated pages was not measured."
    return finding(
        point(deviation, total),
        "percentage points",
        "largest deviation of a bucket from the paper's mix",
        Expectation("below", MIX_TOLERANCE, is_exact=True),
        detail=detail,
        secondary=secondary,
    )


@claims.register("arch-05", "3.2", "A larger vocabulary compresses better", paper="3.17 to 3.94 characters per token")
def compare_vocabularies(evidence: Evidence) -> Finding:
    by_size = {int(size): value for size, value in evidence.metric("tokenizer", "characters_per_token").items()}
    small, large = min(by_size), max(by_size)
    return finding(
        subtract(by_size[large], by_size[small]),
        CHARACTERS,
        f"vocabulary of {large:,} minus vocabulary of {small:,}, held-out text",
        ABOVE,
        detail="The interval treats the two measurements as independent although the documents are the same, so it is "
        "too wide.",
        over="documents",
        secondary=[finding(by_size[size], CHARACTERS, f"vocabulary of {size:,}") for size in sorted(by_size)],
    )
