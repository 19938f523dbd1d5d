"""The claim on contamination (5.1.4): the gain in accuracy on test prompts that are in the training corpus."""

import numpy as np

from stages import statistics
from stages.report.evidence import Evidence, Interval, NotMeasured, to_percent, wilson_interval
from stages.report.verdict import ABOVE, ClaimFamily, Finding, finding

MIN_PROMPTS = 5
"""Contaminated and clean prompts that a task needs for a difference."""
MODEL = "flagship-chat"

claims = ClaimFamily()


@claims.register(
    "safe-11", "5.1.4", "Models answer contaminated test prompts better", paper="8-gram overlap, by benchmark"
)
def estimate_contamination(evidence: Evidence) -> Finding:
    if MODEL not in evidence.answers:
        raise NotMeasured(f"no answers of {MODEL}")
    threshold = evidence.metric("decontaminate", "threshold")
    overlap = evidence.contamination
    tasks: dict[str, tuple[list[float], list[float]]] = {}
    for answer in evidence.answers[MODEL]:
        share = overlap.get((answer["task"], answer["prompt"]))
        if share is not None:
            tasks.setdefault(answer["task"], ([], []))[share < threshold].append(float(answer["is_correct"]))
    comparable = {task: scores for task, scores in sorted(tasks.items()) if min(map(len, scores)) >= MIN_PROMPTS}
    num_contaminated = sum(len(contaminated) for contaminated, _ in tasks.values())
    num_prompts = num_contaminated + sum(len(clean) for _, clean in tasks.values())
    if not num_prompts:
        raise NotMeasured("no test prompt has an n-gram that counts")
    if not comparable:
        raise NotMeasured(
            f"{num_contaminated} of {num_prompts} prompts are contaminated; no task has {MIN_PROMPTS} contaminated and "
            f"{MIN_PROMPTS} clean prompts"
        )
    differences = {task: subtract_means(*scores) for task, scores in comparable.items()}
    rate = to_percent(wilson_interval(num_contaminated, num_prompts))
    secondary = [finding(rate, "%", f"contaminated prompts, of {num_prompts:,} with an overlap")]
    secondary += [finding(to_percent(value), "percentage points", task) for task, value in differences.items()]
    weights = [len(contaminated) for contaminated, _ in comparable.values()]
    return finding(
        to_percent(pool(list(differences.values()), weights)),
        "percentage points",
        "flagship's accuracy on contaminated prompts minus accuracy on clean prompts of the same task",
        ABOVE,
        detail=f"A prompt is contaminated if {100 * threshold:.0f}% of its tokens are in 8-grams of the training "
        "corpus. Each task has the weight of its contaminated prompts.",
        secondary=secondary,
    )


def subtract_means(contaminated: list[float], clean: list[float]) -> Interval:
    """The difference of two independent means, with its normal interval."""
    value = float(np.mean(contaminated) - np.mean(clean))
    half = statistics.Z * float(np.var(contaminated) / len(contaminated) + np.var(clean) / len(clean)) ** 0.5
    return {"value": value, "low": value - half, "high": value + half, "n": len(contaminated) + len(clean)}


def pool(differences: list[Interval], weights: list[int]) -> Interval:
    """The weighted mean of independent differences."""
    shares = np.array(weights) / sum(weights)
    value = float(sum(share * one["value"] for share, one in zip(shares, differences, strict=True)))
    halves = np.array([one["high"] - one["value"] for one in differences])
    half = float(((shares * halves) ** 2).sum() ** 0.5)
    return {"value": value, "low": value - half, "high": value + half, "n": sum(one["n"] for one in differences)}
