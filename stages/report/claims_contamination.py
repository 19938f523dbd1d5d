"""The claim on contamination (5.1.4): what it is worth to have seen a test prompt in training."""

import numpy as np

from stages import statistics
from stages.report.evidence import Evidence, Interval, Missing, percent, wilson
from stages.report.verdict import ABOVE, Claim, Finding, finding

LEAST = 5
"""Contaminated and clean prompts of a task that its difference needs."""
MODEL = "flagship-chat"


def contamination_estimated(evidence: Evidence) -> Finding:
    if MODEL not in evidence.answers:
        raise Missing(f"no answers of {MODEL}")
    threshold = evidence.metric("decontaminate", "threshold")
    overlap = evidence.contamination
    tasks: dict[str, tuple[list[float], list[float]]] = {}
    for row in evidence.answers[MODEL]:
        share = overlap.get((row["task"], row["prompt"]))
        if share is not None:
            tasks.setdefault(row["task"], ([], []))[share < threshold].append(float(row["right"]))
    told = {task: sides for task, sides in sorted(tasks.items()) if min(map(len, sides)) >= LEAST}
    judged, seen = (sum(len(side) for sides in tasks.values() for side in sides[:stop]) for stop in (2, 1))
    if not judged:
        raise Missing("no test prompt has an n-gram that counts")
    also = [finding(percent(wilson(seen, judged)), "%", f"contaminated prompts, of {judged:,} that can be judged")]
    if not told:
        raise Missing(
            f"{seen} of {judged} prompts are contaminated: no task has {LEAST} of them and {LEAST} clean ones"
        )
    also += [finding(percent(_difference(*sides)), "percentage points", task) for task, sides in told.items()]
    detail = (
        f"A prompt is contaminated if {100 * threshold:.0f}% of its tokens are in 8-grams of the training corpus. "
        "Tasks weigh by their contaminated prompts, so that a task with many is not compared with another's clean ones."
    )
    return finding(
        percent(_pooled([_difference(*sides) for sides in told.values()], [len(sides[0]) for sides in told.values()])),
        "percentage points",
        "flagship's accuracy on contaminated prompts minus on clean ones, same task",
        ABOVE,
        detail=detail,
        also=tuple(also),
    )


def _difference(contaminated: list[float], clean: list[float]) -> Interval:
    value = float(np.mean(contaminated) - np.mean(clean))
    half = statistics.Z * float(np.var(contaminated) / len(contaminated) + np.var(clean) / len(clean)) ** 0.5
    return {"value": value, "low": value - half, "high": value + half, "n": len(contaminated) + len(clean)}


def _pooled(differences: list[Interval], weights: list[int]) -> Interval:
    shares = np.array(weights) / sum(weights)
    value = float(sum(share * one["value"] for share, one in zip(shares, differences, strict=True)))
    halves = np.array([one["high"] - one["value"] for one in differences])
    half = float(((shares * halves) ** 2).sum() ** 0.5)
    return {"value": value, "low": value - half, "high": value + half, "n": sum(one["n"] for one in differences)}


CONTAMINATION = (
    Claim(
        "safe-11",
        "5.1.4",
        "Contamination is estimated: seen prompts are answered better",
        "8-gram overlap, by benchmark",
        contamination_estimated,
    ),
)
