"""Claims that need no training: the paper's own numbers, recomputed (1, 3.2, 3.3)."""

from stages.report.evidence import Evidence, NotMeasured, point, to_percent
from stages.report.verdict import ClaimFamily, Expectation, Finding, finding

NOMINAL_PARAMETERS = {"8B": 8e9, "70B": 70e9, "405B": 405e9}
ROUNDING = Expectation("within", 1.0, is_exact=True)
"""Percent: the paper prints two or three digits."""
PAPER_FLOPS, PAPER_TOKENS, OPTIMAL_TOKENS = 3.8e25, 15.6e12, 16.55e12
TOKENS_PER_BATCH = 16 * 2**20
"""Table 4: 16M."""

claims = ClaimFamily()


@claims.register("arch-01", "3.2", "Parameter counts follow from the model shapes", paper="8B, 70B, 405B")
def count_parameters(evidence: Evidence) -> Finding:
    counts = evidence.metric("paper", "parameters")
    deviations = {name: 100 * (counts[name] / nominal - 1) for name, nominal in NOMINAL_PARAMETERS.items()}
    positive = Expectation("above", is_exact=True)
    return finding(
        point(max(deviations.values(), key=abs), len(deviations)),
        "%",
        "largest deviation from the nominal size",
        ROUNDING,
        detail="Shapes of Table 3, the released vocabulary of 128,256, untied output head: "
        + ", ".join(f"{counts[name]:,}" for name in NOMINAL_PARAMETERS)
        + ".",
        secondary=[
            finding(point(counts[name] / 1e9), "billion parameters", f"parameters of {name}", positive)
            for name in NOMINAL_PARAMETERS
        ],
    )


@claims.register("scal-07", "3.2.1", "The paper's scaling numbers agree", paper="402B on 16.55T at 3.8e25")
def recompute_scaling_numbers(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "scaling")
    by_text, by_legend = found["tokens"]["text"], found["tokens"]["legend of figure 3"]
    optimum, flagship = found["flops_of_printed_optimum"], found["flops_of_the_flagship"]
    detail = (
        f"At 3.8e25 FLOPs, 0.29 C^0.53 (text) gives {by_text / 1e12:.2f}T tokens and 0.299 C^0.537 (legend of Fig. 3) "
        f"gives {by_legend / 1e12:.2f}T; the paper prints 16.55T. The difference is rounding: the legend's factor "
        f"gives 16.55T with an exponent of {found['exponent_for_printed_tokens']:.5f}. 402B on 16.55T need "
        f"{optimum:.2e} FLOPs by 6 N D; 3.8e25 FLOPs allow {found['parameters_for_printed_tokens'] / 1e9:.0f}B. "
        f"405B on 15.6T need {flagship:.2e}."
    )
    deviations = (
        (by_legend / OPTIMAL_TOKENS, "tokens by the legend's rounded law over the printed tokens, minus 1"),
        (by_text / OPTIMAL_TOKENS, "tokens by the text's rounded law over the printed tokens, minus 1"),
        (flagship / PAPER_FLOPS, "FLOPs of 405B on 15.6T tokens over 3.8e25, minus 1"),
    )
    return finding(
        point(100 * (optimum / PAPER_FLOPS - 1)),
        "%",
        "FLOPs of the printed optimum (402B, 16.55T) over 3.8e25, minus 1",
        ROUNDING,
        detail=detail,
        secondary=[finding(point(100 * (ratio - 1)), "%", quantity) for ratio, quantity in deviations],
    )


@claims.register(
    "infra-01", "3.3", "Table 4's layouts are consistent and fit their GPUs", paper="3 layouts, 16M tokens, 80 GB"
)
def check_table_4_layouts(evidence: Evidence) -> Finding:
    layouts = evidence.metric("paper", "layouts")
    if any("memory" not in layout for layout in layouts):
        raise NotMeasured("metrics/paper.json was written before the memory of a rank was measured")
    num_wrong, secondary, without_recompute = 0, [], []
    for layout in layouts:
        is_consistent = layout["product"] == layout["gpus"] and layout["batch_tokens"] == TOKENS_PER_BATCH
        num_wrong += not (is_consistent and layout["memory"]["fits"])
        recompute, size = layout["memory"]["least_recompute"], layout["memory"]["bytes"]
        quantity = f"{layout['gpus']:,} GPUs, {layout['length']:,} tokens: memory of a rank, {recompute} recomputation"
        secondary.append(finding(point(size[recompute]["total"] / 1e9), "GB", quantity))
        without_recompute.append(f"{size['none']['total'] / 1e9:.0f}")
    detail = (
        "Checked: the product of the dimensions, 16M tokens per batch, and a rank's memory within 80 GB, measured on "
        "the sharded 405B on the meta device. The paper uses no recomputation at 8K tokens; without it, these layers "
        f"would need {', '.join(without_recompute)} GB as torch DTensors."
    )
    return finding(
        point(num_wrong, len(layouts)),
        "rows",
        "rows of Table 4 that are inconsistent or do not fit",
        Expectation("within", 0.0, is_exact=True),
        detail=detail,
        secondary=secondary,
    )


@claims.register("infra-02", "3.3.4", "Effective training time at one interruption in 3.1 hours", paper="over 90%")
def measure_effective_training_time(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "reliability")
    secondary = []
    for size in found["by_gpus"]:
        best = f"{100 * size['effective_at_best']:.1f} at the best interval, {size['best_interval_minutes']:.1f} min"
        quantity = f"{size['gpus']:,} GPUs, closed form ({best})"
        secondary.append(finding(point(100 * size["effective"]), "%", quantity))
    for stall in evidence.metric("paper", "checkpoint", "stalls"):
        speed = f"{stall['bytes_per_second'] / 1e12:.0f} TB/s, {stall['seconds']:.1f} s each"
        quantity = f"time lost to writing checkpoints of 405B at {speed}"
        secondary.append(finding(point(100 * stall["share_of_time"]), "%", quantity))
    causes, kinds = (
        ", ".join(f"{name} ({100 * share:.1f}%)" for name, share in sorted(lost.items(), key=lambda item: -item[1])[:3])
        for lost in (found["lost_by_cause"], found["lost_by_kind"])
    )
    detail = (
        "Simulated with the counts of Table 5; the interval is the middle 95% of simulated runs. Daly's closed form "
        f"with unlimited spare nodes gives {100 * found['closed_form']:.1f}%. Largest losses by cause: {causes}; "
        f"by kind: {kinds}."
    )
    return finding(
        to_percent(found["effective_time"]),
        "% of the time",
        "effective training time, 16,384 GPUs, 54 days",
        Expectation("above", 90.0),
        detail=detail,
        over="simulations",
        secondary=secondary,
    )


@claims.register("infra-03", "3.3", "54 days on 16,384 GPUs are within 3.8e25 FLOPs", paper="54 days, 3.8e25 FLOPs")
def recompute_training_days(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "training")
    detail = (
        f"16,384 GPUs at 400 TFLOP/s do {found['flops_in_snapshot']:.2e} FLOPs in 54 days: 405B on "
        f"{found['tokens_in_snapshot'] / 1e12:.2f}T of the 15.6T tokens. 3.8e25 FLOPs take "
        f"{found['days_for_budget']:.1f} days without interruptions. The 54 days of section 3.3.4 are a part of the "
        "training; the paper does not print how many tokens were trained in them."
    )
    secondary = []
    if plan := evidence.find_metric("plan-405b"):
        mfu = f"{100 * plan['cluster']['mfu']:.0f}%"
        tokens = point(100 * (plan["tokens"] / PAPER_TOKENS - 1))
        secondary = [
            finding(tokens, "%", "tokens of the 405B plan over 15.6T, minus 1", ROUNDING),
            finding(point(plan["days"]), "days", f"duration of the plan at an MFU of {mfu}"),
            finding(point(plan["modelled_days"]), "days", "duration by the modelled step time, with attention FLOPs"),
            finding(point(plan["elapsed_days"]), "days", "duration with interruptions at the rate of Table 5"),
        ]
    return finding(
        point(100 * found["share_of_budget_in_snapshot"]),
        "% of 3.8e25 FLOPs",
        "share of the FLOPs that 54 days can train",
        Expectation("below", 100.0, is_exact=True),
        detail=detail,
        secondary=secondary,
    )


@claims.register("infra-04", "3.3.4", "Most interruptions were hardware", paper="78%")
def count_hardware_interruptions(evidence: Evidence) -> Finding:
    found = evidence.metric("paper", "interruptions")
    n = found["unexpected"]
    shares = (
        ("hardware_share_with_maintenance", "hardware, with host maintenance"),
        ("gpu_share", "GPU causes (the paper: 58.7)"),
        ("faulty_gpu_share", "faulty GPU (Table 5 prints 30.1)"),
    )
    return finding(
        point(100 * found["hardware_share"] - 78.0, n),
        "percentage points",
        "share of hardware causes by the counts, without host maintenance, minus 78",
        Expectation("within", 1.0, is_exact=True),
        detail=f"{n} counted, one per {found['hours_between']:.2f} hours; Table 5's printed shares add up to 94.9%.",
        secondary=[finding(point(100 * found[key], n), "%", quantity) for key, quantity in shares],
    )
