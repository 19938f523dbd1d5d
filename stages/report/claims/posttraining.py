"""Claims on post-training (4): rounds, DPO, the reward model, and the flagship's samples for the smaller members."""

from stages.report.evidence import Evidence, Interval, NotMeasured, to_percent
from stages.report.verdict import ABOVE, ClaimFamily, Expectation, Finding, finding

POINTS = "percentage points"
CHANCE = 50.0

claims = ClaimFamily()


@claims.register("post-01", "4.1.6", "Each round improves the model", paper="six rounds")
def compare_rounds(evidence: Evidence) -> Finding:
    last = f"dpo-{evidence.last_round}"
    return finding(
        subtract_accuracy(evidence, "sft-1", last),
        POINTS,
        f"accuracy after DPO of round {evidence.last_round} minus after the first SFT, same prompts",
        ABOVE,
        secondary=[
            *secondary_difference(evidence, "flagship-base", "sft-1", "first SFT minus base", ABOVE),
            *secondary_difference(evidence, "flagship-base", last, "all rounds minus base", ABOVE),
        ],
    )


@claims.register("post-02", "4.1.4", "DPO improves on SFT", paper="yes")
def compare_dpo_with_sft(evidence: Evidence) -> Finding:
    last = evidence.last_round
    pairs = [("medium-sft", "medium-dpo", "medium"), ("small-sft", "small-dpo", "small")]
    if last > 1:
        pairs.insert(0, ("sft-1", "dpo-1", "round 1"))
    return finding(
        subtract_accuracy(evidence, f"sft-{last}", f"dpo-{last}"),
        POINTS,
        f"accuracy after DPO minus after SFT, flagship, round {last}, same prompts",
        ABOVE,
        secondary=[
            other
            for sft, dpo, which in pairs
            for other in secondary_difference(evidence, sft, dpo, f"DPO minus SFT, {which}", ABOVE)
        ],
    )


@claims.register("post-03", "4.1.2", "The reward model ranks held-out pairs", paper="method")
def measure_reward_accuracy(evidence: Evidence) -> Finding:
    name = f"round-{evidence.last_round}/reward"
    by_task = evidence.metric(name, "accuracy_by_task")
    return finding(
        to_percent(evidence.metric(name, "accuracy")),
        "%",
        f"held-out pairs ranked correctly by the reward model of round {evidence.last_round}",
        Expectation("above", CHANCE),
        detail=f"Chance is {CHANCE:.0f}%.",
        secondary=[finding(to_percent(value), "%", f"pairs of {task}") for task, value in sorted(by_task.items())],
    )


@claims.register("post-15", "1, 4", "The flagship's samples improve the smaller members", paper="yes")
def compare_training_samples(evidence: Evidence) -> Finding:
    base, own, flagship = "small-base", "small-own", "small-sft"
    return finding(
        subtract_accuracy(evidence, own, flagship),
        POINTS,
        "accuracy of small after SFT on the flagship's samples minus after SFT on its own samples, same prompts",
        ABOVE,
        secondary=[
            *secondary_difference(evidence, base, own, "small after SFT on its own samples minus small base"),
            *secondary_difference(
                evidence, base, flagship, "small after SFT on the flagship's samples minus small base"
            ),
        ],
    )


def subtract_accuracy(evidence: Evidence, before: str, after: str) -> Interval:
    """Accuracy of `after` minus accuracy of `before` on the same prompts, in points."""
    return to_percent(evidence.paired_difference(before, after))


def secondary_difference(
    evidence: Evidence, before: str, after: str, quantity: str, expected: Expectation | None = None
) -> list[Finding]:
    """The difference of two models as a secondary finding; empty if the run lacks answers of either."""
    try:
        return [finding(subtract_accuracy(evidence, before, after), POINTS, quantity, expected)]
    except NotMeasured:
        return []
