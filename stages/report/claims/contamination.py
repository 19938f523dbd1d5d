"""The claim on contamination (5.1.4): the gain in accuracy on test prompts that are in the training corpus."""

import numpy as np

from stages import statistics
from stages.report.evidence import Answer, Evidence, Interval, NotMeasured, subtract, to_percent
from stages.report.verdict import ABOVE, ClaimFamily, Finding, finding

MIN_PROBLEMS = 5
"""Contaminated and clean problems that a task needs for a difference."""
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
    tasks: dict[str, tuple[list[Answer], list[Answer]]] = {}
    for answer in evidence.answers[MODEL]:
        share = overlap.get((answer["task"], answer["prompt"]))
        if share is not None:
            tasks.setdefault(answer["task"], ([], []))[share < threshold].append(answer)
    comparable = {
        task: groups for task, groups in sorted(tasks.items()) if min(map(count_problems, groups)) >= MIN_PROBLEMS
    }
    contaminated, clean = ([one for groups in tasks.values() for one in groups[place]] for place in (0, 1))
    num_prompts = len(contaminated) + len(clean)
    if not num_prompts:
        raise NotMeasured("no test prompt has an n-gram that counts")
    if not comparable:
        raise NotMeasured(
            f"{len(contaminated)} of {num_prompts} prompts are contaminated; no task has {MIN_PROBLEMS} contaminated "
            f"and {MIN_PROBLEMS} clean problems"
        )
    differences = {task: subtract(*map(accuracy, groups)) for task, groups in comparable.items()}
    rate = to_percent(statistics.wilson(len(contaminated), num_prompts))
    secondary = [finding(rate, "%", f"contaminated prompts, of {num_prompts:,} with an overlap")]
    secondary += [
        finding(to_percent(accuracy(answers)), "%", f"accuracy on {name} prompts", over="prompts", cluster="problems")
        for name, answers in (("clean", clean), ("contaminated", contaminated))
        if answers
    ]
    secondary += [
        finding(to_percent(value), "percentage points", task, over="prompts", cluster="problems")
        for task, value in differences.items()
    ]
    weights = [len(groups[0]) for groups in comparable.values()]
    return finding(
        to_percent(pool(list(differences.values()), weights)),
        "percentage points",
        "flagship's accuracy on contaminated prompts minus accuracy on clean prompts of the same task",
        ABOVE,
        over="prompts",
        cluster="problems",
        detail=f"A prompt is contaminated if {100 * threshold:.0f}% of its tokens are in 8-grams of the training "
        "corpus. Each task has the weight of its contaminated prompts. Contaminated and clean prompts of a task may "
        "differ in difficulty.",
        secondary=secondary,
    )


def count_problems(answers: list[Answer]) -> int:
    return len({answer["cluster"] for answer in answers})


def accuracy(answers: list[Answer]) -> Interval:
    """The share of right answers, with its interval over problems."""
    clusters = [(answer["task"], answer["cluster"]) for answer in answers]
    return statistics.clustered_proportion([answer["is_correct"] for answer in answers], clusters)


def pool(differences: list[Interval], weights: list[int]) -> Interval:
    """The weighted mean of independent differences."""
    shares = np.array(weights) / sum(weights)
    value, down, up = (
        np.array(ends)
        for ends in zip(
            *((d["value"], d["value"] - d["low"], d["high"] - d["value"]) for d in differences), strict=True
        )
    )
    mean = float(shares @ value)
    low, high = (float(((shares * half) ** 2).sum() ** 0.5) for half in (down, up))
    counts = {key: sum(one[key] for one in differences) for key in ("n", "clusters")}
    return {"value": mean, "low": mean - low, "high": mean + high} | counts
