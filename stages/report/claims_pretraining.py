"""Claims on data (3.1), architecture (3.2), scaling laws (3.2.1) and pretraining (3.4)."""

from collections.abc import Mapping

import numpy as np

from stages import statistics
from stages.report.evidence import MEMBERS, Evidence, Missing, describe, difference, join, percent, rescale, wilson
from stages.report.verdict import ABOVE, BELOW, Claim, Expectation, Finding, exactly, finding, judge
from stages.tokenizer.corpus import BUCKETS

PAPER_MIX = {"general": 50.0, "math": 25.0, "code": 17.0, "multilingual": 8.0}
PAPER_ALPHA = 0.53
FOUND = 90.0
"""Percent of near-duplicates that have to be found, and of removed documents that have to be one."""
MIX_TOLERANCE = 1.0
"""Percentage points by which a bucket's share may differ: the paper gives whole points."""
PREDICTION_TOLERANCE = 5.0
"""Percent by which the flagship's loss may miss the prediction."""
COVERAGE = 0.95
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
        "Reached " + " / ".join(f"{shares[bucket]:.1f}" for bucket in BUCKETS) + f" of {total:,} tokens, by going "
        + ", ".join(f"{epochs[bucket]:.2g} times through {bucket}" for bucket in BUCKETS) + "."
    )  # fmt: skip
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


def inner_minima(evidence: Evidence) -> Finding:
    budgets = evidence.herd["fit"]["budgets"]
    inner = sum(budget["inner"] for budget in budgets)
    curvature = statistics.over_seeds(np.array([budget["curvature"] for budget in budgets]))
    residual = float(np.mean([budget["residual"] for budget in budgets]))
    detail = f"{inner} of {len(budgets)} budgets; mean distance of a run from its parabola {residual:.4f} nats."
    also = (finding(curvature, "nats per (ln tokens)^2", "curvature, mean over budgets", ABOVE),)
    return finding(percent(wilson(inner, len(budgets))), "% of budgets", "budgets whose parabola has an inner minimum",
                   Expectation("above", 50.0), detail=detail, also=also)  # fmt: skip


def power_law(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    alpha, covered = fit["alpha"], fit["resamples_with_a_power_law"]
    inside = alpha["low"] <= PAPER_ALPHA <= alpha["high"]
    detail = join([
        f"The paper's {PAPER_ALPHA} lies {'inside' if inside else 'outside'} the interval",
        f"{100 * covered:.0f}% of resampled sweeps have a power law" + (
            "" if covered >= COVERAGE else ", too few for a 95% interval"),
    ]) + "."  # fmt: skip
    also = (
        finding(rescale(fit["tokens"], 1e-6), "million tokens", "optimal tokens at the flagship's budget"),
        finding(rescale(fit["parameters"], 1e-6), "million parameters", "optimal size at the flagship's budget"),
        finding(fit["loss_exponent"], "exponent", "exponent of the loss at the minima over compute", BELOW),
    )
    return finding(alpha, "exponent", "exponent of optimal training tokens over compute", ABOVE, detail=detail,
                   conclusive=covered >= COVERAGE, also=also)  # fmt: skip


def near_duplicates_found(evidence: Evidence) -> Finding:
    near = evidence.metric("dedup", "minhash")
    planted = near["planted"]
    if not planted["similar"]:
        raise Missing("no planted copy is similar enough to its original")
    recall = percent(wilson(planted["found"], planted["similar"]))
    also: tuple[Finding, ...] = ()
    if near["removed"]:
        precision = percent(wilson(near["removed_similar"], near["removed"]))
        also = (finding(precision, "%", "removed documents as similar to the kept one as the threshold asks",
                        Expectation("above", FOUND)),)  # fmt: skip
    detail = (
        f"{near['bands']} bands of {near['rows']} rows; {near['candidate_pairs']:,} candidate pairs, "
        f"{near['verified_pairs']:,} of them by exact Jaccard similarity."
    )
    return finding(recall, "%", "planted copies above the threshold that share a cluster with their original",
                   Expectation("above", FOUND), detail=detail, also=also)  # fmt: skip


def curves_flatten(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    first, *_, last = fit["budgets"]
    detail = (
        f"Curvature {first['curvature']:.3f} at {first['flops']:.1e} FLOPs, {last['curvature']:.3f} at "
        f"{last['flops']:.1e} nats per (ln tokens)^2."
    )
    return finding(fit["curvature_slope"], "nats per (ln tokens)^2", "change of the curvature per e-fold of compute",
                   BELOW, detail=detail)  # fmt: skip


def flagship_predicted(evidence: Evidence) -> Finding:
    predicted, scatter = evidence.herd["members"]["flagship"]["loss"], evidence.herd["parametric"]["residual"]
    reached = evidence.metric("flagship/annealing", "validation_loss")

    def miss(reached: Mapping[str, float], predicted: Mapping[str, float]) -> dict[str, float]:
        """In percent; a run repeated scatters around its expectation as the runs of the sweep do."""
        spread = (0.0, -statistics.Z * scatter, statistics.Z * scatter)
        ends = [100 * (reached["value"] * np.exp(end) / predicted["value"] - 1) for end in spread]
        return dict(zip(("value", "low", "high"), map(float, ends), strict=True)) | {"n": reached["n"]}

    inside = predicted["low"] <= reached["value"] <= predicted["high"]
    detail = (
        f"Predicted {describe(predicted, 3)}, reached {reached['value']:.3f} nats per token, "
        f"{'inside' if inside else 'outside'} the prediction's interval."
    )
    also = [finding(predicted, LOSS, "predicted loss of the flagship"),
            finding(reached, LOSS, "reached loss; interval over validation windows"),
            finding(evidence.herd["fit"]["loss"], LOSS, "loss that a power law through the minima would predict"),
            finding(evidence.herd["parametric"]["irreducible"], LOSS, "loss that no model goes below, by the fit"),
            finding(evidence.herd["parametric"]["alpha"], "exponent",
                    "exponent of optimal tokens over compute, by the parametric law")]  # fmt: skip
    initial = evidence.find("flagship/initial", "validation_loss")
    if initial:
        also.append(finding(miss(initial, predicted), "%", "deviation before long context and annealing"))
    for member in ("medium", "small"):
        other = evidence.find(f"{member}/annealing", "validation_loss")
        if other:
            deviation = miss(other, evidence.herd["members"][member]["loss"])
            also.append(finding(deviation, "%", f"{member}: reached over predicted loss, minus 1"))
    deviation, expected = miss(reached, predicted), Expectation("within", PREDICTION_TOLERANCE)
    # A prediction too wide to be refuted is not contradicted by what lies inside it.
    conclusive = not inside or judge(deviation["low"], deviation["high"], expected) == "shown"
    return finding(deviation, "%", "reached loss over predicted loss, minus 1", expected, detail=detail,
                   conclusive=conclusive, also=tuple(also))  # fmt: skip


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
    return finding(change, LOSS, "flagship's validation loss after annealing minus before", BELOW, detail=detail,
                   also=tuple(also))  # fmt: skip


def average_is_final(evidence: Evidence) -> Finding:
    effect = evidence.metric("flagship/annealing", "average_minus_last")
    count = evidence.metric("flagship/annealing", "averaged_checkpoints")
    also = []
    for member in MEMBERS[:-1]:
        other = evidence.find(f"{member}/annealing", "average_minus_last")
        if other:
            also.append(finding(other, LOSS, f"{member}: average minus last checkpoint", BELOW))
    detail = f"Mean of {count} checkpoints; at the interval's end it is worse by {max(0.0, effect['high']):.4f} nats."
    return finding(effect, LOSS, "flagship's validation loss, average of annealing checkpoints minus last one", BELOW,
                   detail=detail, also=tuple(also))  # fmt: skip


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
    return exactly(passed, lengths, f"of {lengths} lengths", "lengths mastered: loss recovered and needles found",
                   Expectation("above", lengths - 1, exact=True), detail, tuple(also))  # fmt: skip


PRETRAINING = (
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
    Claim("scal-01", "3.2.1", "IsoFLOP curves are parabolas with inner minima", "Fig. 2", inner_minima),
    Claim(
        "scal-02",
        "3.2.1",
        "The compute-optimal number of tokens follows a power law",
        "exponent 0.53, A 0.29",
        power_law,
    ),
    Claim("scal-03", "3.2.1", "Curves flatten at the minimum as compute grows", "yes", curves_flatten),
    Claim("scal-04", "3.2.1", "The fit predicts the flagship", "402B parameters on 16.55T tokens", flagship_predicted),
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
