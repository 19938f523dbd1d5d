"""Claims that need no training: the paper's own numbers, computed again (1, 3.2, 3.3)."""

from stages.report.evidence import Evidence, Missing, percent
from stages.report.verdict import Claim, Expectation, Finding, exactly, finding

PRINTED = {"8B": 8e9, "70B": 70e9, "405B": 405e9}
SLACK = 1.0
"""Percent: the paper gives two or three digits."""
BUDGET, TOKENS = 3.8e25, 15.6e12
TOKENS_PER_BATCH = 16 * 2**20
"""Table 4: 16M."""


def parameter_counts(evidence: Evidence) -> Finding:
    counts = evidence.metric("paper", "parameters")
    miss = {name: 100 * (counts[name] / printed - 1) for name, printed in PRINTED.items()}
    also = tuple(
        exactly(counts[name] / 1e9, 1, "billion parameters", f"parameters of {name}", Expectation("above", exact=True))
        for name in PRINTED
    )
    detail = "Table 3's shapes, the released vocabulary of 128,256, untied head: " + ", ".join(
        f"{counts[name]:,}" for name in PRINTED
    )
    return exactly(
        max(miss.values(), key=abs),
        len(miss),
        "%",
        "largest deviation from the name's number",
        Expectation("within", SLACK, exact=True),
        f"{detail}.",
        also,
    )


def own_scaling_numbers(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "scaling")
    tokens = found["tokens"]
    detail = (
        f"At 3.8e25 FLOPs the text's 0.29 C^0.53 gives {tokens['text'] / 1e12:.2f}T tokens, the legend's 0.299 C^0.537 "
        f"{tokens['legend of figure 3'] / 1e12:.2f}T, the paper prints 16.55T: rounding, since the legend's factor "
        f"with an exponent of {found['exponent_for_printed_tokens']:.5f} gives it. 402B on 16.55T are "
        f"{found['flops_of_printed_optimum']:.2e} FLOPs by 6 N D; 3.8e25 leaves "
        f"{found['parameters_for_printed_tokens'] / 1e9:.0f}B. 405B on 15.6T are {found['flops_of_the_flagship']:.2e}."
    )
    miss = 100 * (found["flops_of_printed_optimum"] / BUDGET - 1)
    legend = 100 * (tokens["legend of figure 3"] / 16.55e12 - 1)
    also = (
        finding(_sure(legend), "%", "tokens by the legend's rounded law over those printed, minus 1"),
        finding(_sure(100 * (tokens["text"] / 16.55e12 - 1)), "%", "tokens by the text's rounded law, minus 1"),
        finding(_sure(100 * (found["flops_of_the_flagship"] / BUDGET - 1)), "%", "405B on 15.6T tokens over 3.8e25"),
    )
    return exactly(
        miss,
        1,
        "%",
        "FLOPs of the printed optimum (402B, 16.55T) over 3.8e25, minus 1",
        Expectation("within", SLACK, exact=True),
        detail,
        also,
    )


def table_4_layouts(evidence: Evidence) -> Finding:
    rows = evidence.metric("paper", "layouts")
    if any("memory" not in row for row in rows):
        raise Missing("metrics/paper.json is from before the memory of a rank was measured")
    wrong, also, needed = 0, [], []
    for row in rows:
        sums = row["product"] == row["gpus"] and row["batch_tokens"] == TOKENS_PER_BATCH
        wrong += not (sums and row["memory"]["fits"])
        least, measured = row["memory"]["least_recompute"], row["memory"]["bytes"]
        name = f"{row['gpus']:,} GPUs, {row['length']:,} tokens"
        also.append(finding(_sure(measured[least]["total"] / 1e9), "GB", f"{name}: a rank with {least} recomputation"))
        needed.append(f"{measured['none']['total'] / 1e9:.0f}")
    detail = (
        "Product of the dimensions, 16M tokens a batch, and a rank's bytes within 80 GB, counted on the 405B sharded "
        "without data. The paper recomputes nothing at 8K tokens; these layers, kept whole by torch's DTensor, would "
        f"need {', '.join(needed)} GB."
    )
    return exactly(
        wrong,
        len(rows),
        "rows",
        "rows of Table 4 that do not come out",
        Expectation("within", 0.0, exact=True),
        detail,
        tuple(also),
    )


def days_of_training(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "training")
    detail = (
        f"16,384 GPUs at 400 TFLOP/s do {found['flops_in_snapshot']:.2e} FLOPs in 54 days: 405B on "
        f"{found['tokens_in_snapshot'] / 1e12:.2f}T of the 15.6T tokens. 3.8e25 take {found['days_for_budget']:.1f} "
        "days without any interruption. The 54 days of 3.3.4 are a part of the run; how many tokens were trained in "
        "them is not printed."
    )
    also = []
    if plan := evidence.find("plan-405b"):
        also = [
            exactly(
                100 * (plan["tokens"] / TOKENS - 1),
                1,
                "%",
                "tokens of the plan of 405B over 15.6T, minus 1",
                Expectation("within", SLACK, exact=True),
            ),
            finding(_sure(plan["days"]), "days", f"the plan's, at an MFU of {100 * plan['cluster']['mfu']:.0f}%"),
            finding(_sure(plan["modelled_days"]), "days", "the plan's by the modelled step, with attention's work"),
            finding(_sure(plan["elapsed_days"]), "days", "the plan's with interruptions at the rate of Table 5"),
        ]
    share, expected = 100 * found["share_of_budget_in_snapshot"], Expectation("below", 100.0, exact=True)
    return exactly(
        share, 1, "% of 3.8e25 FLOPs", "share of the budget that 54 days can train", expected, detail, tuple(also)
    )


def hardware_share(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "interruptions")
    n = found["unexpected"]
    also = (
        finding(_sure(100 * found["hardware_share_with_maintenance"], n), "%", "hardware, with host maintenance"),
        finding(_sure(100 * found["gpu_share"], n), "%", "GPU causes (the paper: 58.7)"),
        finding(_sure(100 * found["faulty_gpu_share"], n), "%", "faulty GPU (Table 5 prints 30.1)"),
    )
    detail = f"{n} counted, one per {found['hours_between']:.2f} hours; Table 5's printed shares add up to 94.9%."
    return exactly(
        100 * found["hardware_share"] - 78.0,
        n,
        "percentage points",
        "hardware's share by the counts, without host maintenance, minus 78",
        Expectation("within", 1.0, exact=True),
        detail,
        also,
    )


def effective_training_time(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "reliability")
    also = []
    for row in found["by_gpus"]:
        best = f"{100 * row['effective_at_best']:.1f} at the best interval, {row['best_interval_minutes']:.1f} min"
        also.append(finding(_sure(100 * row["effective"]), "%", f"{row['gpus']:,} GPUs, closed form ({best})"))
    for stall in evidence.metric("paper", "checkpoint", "stalls"):
        speed = f"{stall['bytes_per_second'] / 1e12:.0f} TB/s, {stall['seconds']:.1f} s each"
        also.append(finding(_sure(100 * stall["share_of_time"]), "%", f"stalls for checkpoints of 405B at {speed}"))
    causes, kinds = (
        ", ".join(f"{name} ({100 * share:.1f}%)" for name, share in sorted(lost.items(), key=lambda item: -item[1])[:3])
        for lost in (found["lost_by_cause"], found["lost_by_kind"])
    )
    detail = (
        "Simulated with Table 5's counts; interval: the middle 95% of runs. Daly's closed form, with spare nodes "
        f"always at hand, gives {100 * found['closed_form']:.1f}%. Most is lost to {causes}; by kind: {kinds}"
    )
    return finding(
        percent(found["effective_time"]),
        "% of the time",
        "useful training time, 16,384 GPUs, 54 days",
        Expectation("above", 90.0),
        detail=f"{detail}.",
        also=tuple(also),
    )


def _sure(value: float, n: int = 1) -> dict[str, float]:
    return {"value": value, "low": value, "high": value, "n": n}


PAPER = (
    Claim("arch-01", "3.2", "The herd's sizes follow from its shapes", "8B, 70B, 405B", parameter_counts),
    Claim("scal-07", "3.2.1", "The paper's scaling numbers agree", "402B on 16.55T at 3.8e25", own_scaling_numbers),
    Claim(
        "infra-01",
        "3.3",
        "Table 4's layouts are consistent and fit their GPUs",
        "3 layouts, 16M tokens, 80 GB",
        table_4_layouts,
    ),
    Claim(
        "infra-02",
        "3.3.4",
        "Effective training time at one interruption in 3.1 hours",
        "over 90%",
        effective_training_time,
    ),
    Claim(
        "infra-03", "3.3", "54 days of 16,384 GPUs lie within 3.8e25 FLOPs", "54 days, 3.8e25 FLOPs", days_of_training
    ),
    Claim("infra-04", "3.3.4", "Most interruptions were hardware", "78%", hardware_share),
)
