"""Claims on post-training (4): rounds, DPO, the reward model, and the flagship's data for the smaller members."""

from stages.report.evidence import Evidence, Interval, Missing, describe, percent
from stages.report.verdict import ABOVE, Claim, Expectation, Finding, finding

POINTS = "percentage points"
CHANCE = 50.0


def rounds_improve(evidence: Evidence) -> Finding:
    last = f"dpo-{evidence.last_round}"
    also = [finding(_paired(evidence, "flagship-base", "sft-1"), POINTS, "first SFT minus base", ABOVE)]
    compared = f"accuracy after DPO of round {evidence.last_round} minus after the first SFT, same prompts"
    detail = f"All rounds against the base model: {describe(_paired(evidence, 'flagship-base', last))} points."
    return finding(_paired(evidence, "sft-1", last), POINTS, compared, ABOVE, detail=detail, also=tuple(also))


def dpo_adds(evidence: Evidence) -> Finding:
    also = []
    for number in sorted({1, evidence.last_round} - {evidence.last_round}):
        also.append(finding(_paired(evidence, f"sft-{number}", f"dpo-{number}"), POINTS,
                            f"DPO minus SFT, round {number}", ABOVE))  # fmt: skip
    for member in ("medium", "small"):
        try:
            also.append(
                finding(_paired(evidence, f"{member}-sft", f"{member}-dpo"), POINTS, f"DPO minus SFT, {member}", ABOVE)
            )
        except Missing:
            continue
    number = evidence.last_round
    return finding(_paired(evidence, f"sft-{number}", f"dpo-{number}"), POINTS,
                   f"accuracy after DPO minus after SFT, flagship, round {number}, same prompts", ABOVE,
                   also=tuple(also))  # fmt: skip


def reward_ranks(evidence: Evidence) -> Finding:
    name = f"round-{evidence.last_round}/reward"
    tasks = evidence.metric(name, "accuracy_by_task")
    also = tuple(finding(percent(value), "%", f"pairs on {task}") for task, value in sorted(tasks.items()))
    return finding(percent(evidence.metric(name, "accuracy")), "%",
                   f"held-out pairs ranked right by the reward model of round {evidence.last_round}",
                   Expectation("above", CHANCE), detail="Chance is 50%.", also=also)  # fmt: skip


def flagship_teaches(evidence: Evidence) -> Finding:
    effect = _paired(evidence, "small-own", "small-sft")
    also = (
        finding(_paired(evidence, "small-base", "small-own"), POINTS, "small on its own samples minus its base"),
        finding(_paired(evidence, "small-base", "small-sft"), POINTS, "small on the flagship's samples minus its base"),
    )
    return finding(effect, POINTS, "small after SFT on the flagship's samples minus after SFT on its own, same prompts",
                   ABOVE, also=also)  # fmt: skip


def _paired(evidence: Evidence, before: str, after: str) -> Interval:
    return percent(evidence.paired(before, after))


POSTTRAINING = (
    Claim("post-01", "4.1.6", "Each round improves the model", "six rounds", rounds_improve),
    Claim("post-02", "4.1.4", "DPO adds to SFT", "yes", dpo_adds),
    Claim("post-03", "4.1.2", "The reward model ranks held-out pairs", "method", reward_ranks),
    Claim("post-15", "1, 4", "The flagship's data improves the smaller members", "yes", flagship_teaches),
)
