"""Claims on data (3.1), architecture (3.2) and pretraining (3.4)."""

from stages.report.evidence import MEMBERS, Evidence, Missing, difference, percent, wilson
from stages.report.verdict import ABOVE, BELOW, Claim, Expectation, Finding, exactly, finding
from stages.tokenizer.corpus import BUCKETS

PAPER_MIX = {"general": 50.0, "math": 25.0, "code": 17.0, "multilingual": 8.0}
FOUND = 90.0
"""Percent of near-duplicates that have to be found, and of removed documents that have to be one."""
MIX_TOLERANCE = 1.0
"""Percentage points by which a bucket's share may differ: the paper gives whole points."""
LOSS = "nats per token"


def dedup_removes(evidence: Evidence) -> Finding:
    removed = evidence.metric("dedup", "removed")
    documents, size = evidence.metric("dedup", "documents_in"), evidence.metric("dedup", "bytes_in")
    shares = {step: 100 * removed[step]["bytes"] for step in ("url", "document", "line")}
    also = tuple(
        exactly(share, documents, "% of bytes", f"removed by {step} de-duplication", Expectation("above", exact=True))
        for step, share in shares.items()
    )
    least = min(shares, key=lambda step: shares[step])
    compared = f"share of text removed by the step that removes least ({least})"
    detail = f"Of {size / 1e6:.1f} MB: " + ", ".join(f"{step} {share:.2f}%" for step, share in shares.items()) + "."
    return exactly(shares[least], documents, "% of bytes", compared, Expectation("above", exact=True), detail, also)


def mix_reached(evidence: Evidence) -> Finding:
    drawn = evidence.metric("flagship/initial", "tokens_by_bucket")
    total = sum(drawn.values())
    shares = {bucket: 100 * drawn[bucket] / total for bucket in BUCKETS}
    off = max(abs(shares[bucket] - PAPER_MIX[bucket]) for bucket in BUCKETS)
    epochs = evidence.metric("flagship/initial", "epochs_by_bucket")
    detail = (
        "Reached "
        + " / ".join(f"{shares[bucket]:.1f}" for bucket in BUCKETS)
        + f" of {total:,} tokens, by going "
        + ", ".join(f"{epochs[bucket]:.2g} times through {bucket}" for bucket in BUCKETS)
        + "."
    )
    if off > MIX_TOLERANCE:
        most = evidence.metric("flagship/initial", "epochs_allowed")
        detail += f" No bucket may be gone through more than {most:g} times: what it lacks the others gave."
    expected = Expectation("below", MIX_TOLERANCE, exact=True)
    return exactly(
        off, total, "percentage points", "largest deviation of a bucket from the paper's mix", expected, detail
    )


def vocabulary_compresses(evidence: Evidence) -> Finding:
    sizes = {int(size): value for size, value in evidence.metric("tokenizer", "characters_per_token").items()}
    small, large = min(sizes), max(sizes)
    gain = difference(sizes[large], sizes[small])
    also = tuple(finding(sizes[size], "characters per token", f"vocabulary of {size:,}") for size in sorted(sizes))
    return finding(
        gain,
        "characters per token",
        f"vocabulary of {large:,} minus vocabulary of {small:,}, held-out text",
        ABOVE,
        detail="The same documents under both, taken as independent: the interval is on the wide side.",
        also=also,
    )


def near_duplicates_found(evidence: Evidence) -> Finding:
    near = evidence.metric("dedup", "minhash")
    planted = near["planted"]
    if not planted["similar"]:
        raise Missing("no planted copy is similar enough to its original")
    recall = percent(wilson(planted["found"], planted["similar"]))
    also: tuple[Finding, ...] = ()
    if near["removed"]:
        precision = percent(wilson(near["removed_similar"], near["removed"]))
        also = (
            finding(
                precision,
                "%",
                "removed documents as similar to the kept one as the threshold asks",
                Expectation("above", FOUND),
            ),
        )
    detail = (
        f"{near['bands']} bands of {near['rows']} rows; {near['candidate_pairs']:,} candidate pairs, "
        f"{near['verified_pairs']:,} of them by exact Jaccard similarity."
    )
    return finding(
        recall,
        "%",
        "planted copies above the threshold that share a cluster with their original",
        Expectation("above", FOUND),
        detail=detail,
        also=also,
    )


def annealing_lowers(evidence: Evidence) -> Finding:
    also = []
    for member in MEMBERS:
        control = evidence.find(f"{member}/annealing", "against_control")
        if control:
            compared = f"{member}: annealed minus trained on the same number of tokens without annealing"
            also.append(finding(control, LOSS, compared, BELOW))
        change = evidence.find(f"{member}/annealing", "change")
        if change and member != "flagship":
            also.append(finding(change, LOSS, f"{member}: after annealing minus before", BELOW))
    change = evidence.metric("flagship/annealing", "change")
    detail = "" if any("same number" in one.compared for one in also) else "No control was trained at this scale."
    return finding(
        change, LOSS, "flagship's validation loss after annealing minus before", BELOW, detail=detail, also=tuple(also)
    )


def average_is_final(evidence: Evidence) -> Finding:
    effect = evidence.metric("flagship/annealing", "average_minus_last")
    count = evidence.metric("flagship/annealing", "averaged_checkpoints")
    also = []
    for member in MEMBERS[:-1]:
        other = evidence.find(f"{member}/annealing", "average_minus_last")
        if other:
            also.append(finding(other, LOSS, f"{member}: average minus last checkpoint", BELOW))
    detail = f"Mean of {count} checkpoints; at the interval's end it is worse by {max(0.0, effect['high']):.4f} nats."
    return finding(
        effect,
        LOSS,
        "flagship's validation loss, average of annealing checkpoints minus last one",
        BELOW,
        detail=detail,
        also=tuple(also),
    )


def context_gated(evidence: Evidence) -> Finding:
    metrics = evidence.metric("flagship/long_context")
    passed, lengths = metrics["gates_passed"], metrics["lengths"]
    also = []
    for length in sorted({row["length"] for row in metrics["needles"]}):
        rows = [row for row in metrics["needles"] if row["length"] == length]
        asked = sum(row["n"] for row in rows)
        found = sum(row["accuracy"] * row["n"] for row in rows)
        also.append(finding(percent(wilson(found, asked)), "%", f"needles found at {length:,} tokens"))
    also.append(finding(metrics["short_loss_change"], LOSS, "short-context loss, after minus before"))
    detail = f"Reached a context of {metrics['context_length']:,} tokens in {len(metrics['gate'])} segments."
    if passed < lengths:
        detail += " The gate held: what is not mastered is not claimed, which says nothing against it."
    compared = f"lengths mastered: loss recovered and needles found, of {lengths}"
    expected = Expectation("above", lengths - 1, exact=True)
    return Finding(
        compared,
        "lengths",
        passed,
        passed,
        passed,
        lengths,
        expected,
        detail,
        conclusive=passed == lengths,
        also=tuple(also),
    )


DATA = (
    Claim("data-02", "3.1.1", "URL, document and line de-duplication each remove text", "method", dedup_removes),
    Claim("data-03", "3.1.1", "Near-duplicates are found", "method", near_duplicates_found),
    Claim(
        "data-07",
        "3.1.2",
        "The final mix of general, maths, code and multilingual tokens",
        "50 / 25 / 17 / 8",
        mix_reached,
    ),
    Claim(
        "arch-05",
        "3.2",
        "A larger vocabulary compresses better",
        "3.17 to 3.94 characters per token",
        vocabulary_compresses,
    ),
)

PRETRAINING = (
    Claim("train-01", "3.4.3", "Annealing lowers the loss", "method", annealing_lowers),
    Claim(
        "train-02",
        "3.4.3",
        "The average of annealing checkpoints is the better final model",
        "method",
        average_is_final,
    ),
    Claim(
        "train-03",
        "3.4.2",
        "Context grows only after full recovery, with needles solved",
        "every length, all needles",
        context_gated,
    ),
)
