"""Claims on post-training (4): rounds, DPO, the reward model, and the flagship's samples for the smaller members."""

from itertools import pairwise

from stages.report.evidence import Evidence, Interval, NotMeasured, point, to_percent
from stages.report.verdict import ABOVE, ClaimFamily, Control, Expectation, Finding, finding, weakest, with_secondary

POINTS = "percentage points"
METHODS = {
    "distinct_answer": "a random distinct answer",
    "majority": "the majority of K answers",
    "weighted_vote": "the vote weighted by reward",
    "best_reward": "the best of K by reward",
    "verifier": "the verifier's pick (any right answer)",
}
"""Ways to select one of K answers, as in the metrics of rejection sampling."""

claims = ClaimFamily()


@claims.register("post-01", "4.1.6", "Each round improves the model", paper="six rounds", is_training_choice=True)
def compare_rounds(evidence: Evidence) -> Finding:
    """Each round against the one before, the first against the base model."""
    models = ["flagship-base", *(f"dpo-{number}" for number in evidence.rounds)]
    steps = [
        finding(
            subtract_accuracy(evidence, before, after),
            POINTS,
            f"accuracy after round {number} minus before it, same prompts",
            ABOVE,
            over="prompts",
            cluster="problems",
        )
        for number, (before, after) in enumerate(pairwise(models), start=1)
    ]
    failed = [str(number) for number, step in enumerate(steps, start=1) if step.verdict != "shown"]
    detail = "The row has the round that improves least."
    if failed:
        detail += f" Not shown for round {', '.join(failed)}."
    return weakest(steps, detail=detail, control=check_equal_gold(evidence))


def check_equal_gold(evidence: Evidence) -> Control:
    """Rounds compare only at equal gold data: a round may add sampled answers, but no new gold demonstrations."""
    gold = [evidence.find_metric(f"round-{number}/rejection", "gold") for number in evidence.rounds]
    name = "most gold demonstrations of a round over the least"
    if None in gold or not min(gold):
        return Control(f"{name} (not counted)", 0.0, "times", is_passed=False)
    return Control(name, max(gold) / min(gold), "times", is_passed=max(gold) == min(gold))


@claims.register("post-02", "4.1.4", "DPO improves on SFT", paper="yes", is_training_choice=True)
def compare_dpo_with_sft(evidence: Evidence) -> Finding:
    last = evidence.last_round
    pairs = [("medium-sft", "medium-dpo", "medium"), ("small-sft", "small-dpo", "small")]
    pairs = [(f"sft-{number}", f"dpo-{number}", f"round {number}") for number in evidence.rounds[:-1]] + pairs
    return finding(
        subtract_accuracy(evidence, f"sft-{last}", f"dpo-{last}"),
        POINTS,
        f"accuracy after DPO minus after SFT, flagship, round {last}, same prompts",
        ABOVE,
        over="prompts",
        cluster="problems",
        secondary=[
            other
            for sft, dpo, which in pairs
            for other in secondary_difference(evidence, sft, dpo, f"DPO minus SFT, {which}", ABOVE)
        ],
    )


@claims.register(
    "post-03",
    "4.1.2",
    "The reward model ranks answers: its best of K is right more often than one answer",
    paper="method",
)
def compare_best_of_k(evidence: Evidence) -> Finding:
    """The best of K by reward against one random answer, in every round; the other ways to select are secondary."""
    best: list[Finding] = []
    secondary: list[Finding] = []
    for number in evidence.rounds:
        selection = evidence.metric(f"round-{number}/rejection", "selection")
        if not selection:
            raise NotMeasured(f"round {number} has too few prompts to compare selections")
        most = max(each["k"] for each in selection)
        where = f"round {number}"
        for each in sorted(selection, key=lambda one: (one["task"] != "all", one["k"] != most)):
            method, k = each["method"], each["k"]
            is_best_of_all = method == "best_reward" and each["task"] == "all"
            if method not in METHODS or not (is_best_of_all or k == most):
                continue
            tasks = "" if each["task"] == "all" else f", {each['task']}"
            found = finding(
                to_percent(each["minus_one_answer"]),
                POINTS,
                f"accuracy of {METHODS[method]} minus accuracy of one random answer, K = {k}, {where}{tasks}",
                ABOVE if method == "best_reward" else None,
                over="prompts",
                cluster="problems",
            )
            (best if is_best_of_all and k == most else secondary).append(found)
    secondary += reward_accuracy(evidence)
    failed = [str(number) for number, found in enumerate(best, start=1) if found.verdict != "shown"]
    detail = (
        f"Not shown in round {', '.join(failed)}: for verified tasks the verifier picks the answers."
        if failed
        else "In every round."
    )
    return with_secondary(weakest(best, detail=detail), secondary)


def reward_accuracy(evidence: Evidence) -> list[Finding]:
    """How many held-out pairs the reward model of the last round ranks correctly."""
    accuracy = evidence.find_metric(f"round-{evidence.last_round}/reward", "accuracy")
    by_task = evidence.find_metric(f"round-{evidence.last_round}/reward", "accuracy_by_task") or {}
    if not accuracy:
        return []
    above_chance = Expectation("above", 50.0)
    quantity = f"held-out pairs ranked correctly by the reward model of round {evidence.last_round}; chance is 50%"
    all_pairs = finding(to_percent(accuracy), "%", quantity, above_chance, over="prompts", cluster="problems")
    return [all_pairs] + [
        finding(to_percent(value), "%", f"pairs of {task}", over="prompts") for task, value in sorted(by_task.items())
    ]


@claims.register("post-07", "4.2.3", "Tone cleaning removes emojis, exclamation marks and apologies", paper="method")
def count_tone_lapses(evidence: Evidence) -> Finding:
    sampled = evidence.metric(f"round-{evidence.last_round}/rejection")
    before, after, n = sampled["tone_before"], sampled["tone_after"], sampled["demonstrations"]
    secondary = [
        finding(point(100 * rate, n), "%", f"samples with {kind}, {when} cleaning")
        for kind in before
        for when, rate in (("before", before[kind]), ("after", after[kind]))
    ]
    kind = max(before, key=lambda name: after[name] - before[name])
    return finding(
        point(100 * (after[kind] - before[kind]), n),
        POINTS,
        f"share of SFT samples with the lapse that falls least ({kind}), after cleaning minus before",
        Expectation("below", is_exact=True),
        detail="The lapses are planted in generated demonstrations; answers to real users were not cleaned.",
        secondary=secondary,
    )


@claims.register(
    "post-15", "1, 4", "The flagship's samples improve the smaller members", paper="yes", is_training_choice=True
)
def compare_training_samples(evidence: Evidence) -> Finding:
    base, own, flagship = "small-base", "small-own", "small-sft"
    return finding(
        subtract_accuracy(evidence, own, flagship),
        POINTS,
        "accuracy of small after SFT on the flagship's samples minus after SFT on its own samples, same prompts",
        ABOVE,
        over="prompts",
        cluster="problems",
        detail="Medium was not trained on its own samples.",
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
        difference = subtract_accuracy(evidence, before, after)
    except NotMeasured:
        return []
    return [finding(difference, POINTS, quantity, expected, over="prompts", cluster="problems")]
