"""Claims on post-training (4): rounds, DPO, the reward model, and the flagship's data for the smaller members."""

from stages.report.evidence import Evidence, Interval, Missing, percent
from stages.report.verdict import ABOVE, Claim, Expectation, Finding, finding

POINTS = "percentage points"
CHANCE = 50.0


def rounds_improve(evidence: Evidence) -> Finding:
    last = f"dpo-{evidence.last_round}"
    also = (
        *_beside(evidence, "flagship-base", "sft-1", "first SFT minus base", ABOVE),
        *_beside(evidence, "flagship-base", last, "all rounds minus base", ABOVE),
    )
    compared = f"accuracy after DPO of round {evidence.last_round} minus after the first SFT, same prompts"
    return finding(_paired(evidence, "sft-1", last), POINTS, compared, ABOVE, also=also)


def dpo_adds(evidence: Evidence) -> Finding:
    number = evidence.last_round
    compared = f"accuracy after DPO minus after SFT, flagship, round {number}, same prompts"
    also = (
        *(_beside(evidence, "sft-1", "dpo-1", "DPO minus SFT, round 1", ABOVE) if number > 1 else ()),
        *_beside(evidence, "medium-sft", "medium-dpo", "DPO minus SFT, medium", ABOVE),
        *_beside(evidence, "small-sft", "small-dpo", "DPO minus SFT, small", ABOVE),
    )
    return finding(_paired(evidence, f"sft-{number}", f"dpo-{number}"), POINTS, compared, ABOVE, also=also)


def reward_ranks(evidence: Evidence) -> Finding:
    name = f"round-{evidence.last_round}/reward"
    tasks = evidence.metric(name, "accuracy_by_task")
    also = tuple(finding(percent(value), "%", f"pairs on {task}") for task, value in sorted(tasks.items()))
    return finding(
        percent(evidence.metric(name, "accuracy")),
        "%",
        f"held-out pairs ranked right by the reward model of round {evidence.last_round}",
        Expectation("above", CHANCE),
        detail="Chance is 50%.",
        also=also,
    )


def flagship_teaches(evidence: Evidence) -> Finding:
    also = (
        *_beside(evidence, "small-base", "small-own", "small on its own samples minus its base"),
        *_beside(evidence, "small-base", "small-sft", "small on the flagship's samples minus its base"),
    )
    compared = "accuracy of small after SFT on the flagship's samples minus after SFT on its own, same prompts"
    return finding(_paired(evidence, "small-own", "small-sft"), POINTS, compared, ABOVE, also=also)


def _paired(evidence: Evidence, before: str, after: str) -> Interval:
    return percent(evidence.paired(before, after))


def _beside(
    evidence: Evidence, before: str, after: str, compared: str, expected: Expectation | None = None
) -> tuple[Finding, ...]:
    """The difference of two models for beside the claim; nothing where the run has not asked them."""
    try:
        return (finding(_paired(evidence, before, after), POINTS, compared, expected),)
    except Missing:
        return ()


POSTTRAINING = (
    Claim("post-01", "4.1.6", "Each round improves the model", "six rounds", rounds_improve),
    Claim("post-02", "4.1.4", "DPO adds to SFT", "yes", dpo_adds),
    Claim("post-03", "4.1.2", "The reward model ranks held-out pairs", "method", reward_ranks),
    Claim("post-15", "1, 4", "The flagship's data improves the smaller members", "yes", flagship_teaches),
)
