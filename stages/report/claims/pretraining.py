"""Claims on annealing, checkpoint averaging and long context (3.4)."""

from stages import statistics
from stages.report.evidence import MEMBERS, Evidence, point, to_percent
from stages.report.verdict import BELOW, ClaimFamily, Control, Expectation, Finding, finding

LOSS_UNIT = "nats per token"

claims = ClaimFamily()


@claims.register("train-01", "3.4.3", "Annealing lowers the loss", paper="method", is_training_choice=True)
def measure_annealing(evidence: Evidence) -> Finding:
    secondary = []
    for member in MEMBERS:
        against_control = evidence.find_metric(f"{member}/annealing", "against_control")
        if against_control and member != "flagship":
            quantity = f"{member}: annealed minus trained on the same number of tokens without annealing"
            secondary.append(finding(against_control, LOSS_UNIT, quantity, BELOW, over="documents"))
        change = evidence.find_metric(f"{member}/annealing", "change")
        if change:
            quantity = f"{member}: after annealing minus before, with the effect of more tokens"
            secondary.append(finding(change, LOSS_UNIT, quantity, over="documents"))
    change = evidence.metric("flagship/annealing", "change")
    against_control = evidence.find_metric("flagship/annealing", "against_control")
    return finding(
        against_control or change,
        LOSS_UNIT,
        "flagship's validation loss, annealed minus trained on the same number of tokens without annealing"
        if against_control
        else "flagship's validation loss after annealing minus before",
        BELOW,
        over="documents",
        control=Control(
            "runs on the same tokens without annealing", float(bool(against_control)), "runs", bool(against_control)
        ),
        secondary=secondary,
    )


@claims.register(
    "train-02",
    "3.4.3",
    "The average of annealing checkpoints is better than the last checkpoint",
    paper="method",
    is_training_choice=True,
)
def compare_checkpoint_average(evidence: Evidence) -> Finding:
    effect = evidence.metric("flagship/annealing", "average_minus_last")
    num_averaged = evidence.metric("flagship/annealing", "averaged_checkpoints")
    secondary = []
    for member in MEMBERS[:-1]:
        other = evidence.find_metric(f"{member}/annealing", "average_minus_last")
        if other:
            secondary.append(
                finding(other, LOSS_UNIT, f"{member}: average minus last checkpoint", BELOW, over="documents")
            )
    return finding(
        effect,
        LOSS_UNIT,
        "flagship's validation loss, average of annealing checkpoints minus last checkpoint",
        BELOW,
        detail=f"Mean of {num_averaged} checkpoints; it is worse by at most {max(0.0, effect['high']):.4f} nats (upper "
        "end of the interval).",
        over="documents",
        secondary=secondary,
    )


@claims.register(
    "train-03",
    "3.4.2",
    "The context grows only after the short-context loss recovers and all needles are found",
    paper="every length, all needles",
)
def check_context_gate(evidence: Evidence) -> Finding:
    metrics = evidence.metric("flagship/long_context")
    num_passed, num_lengths = metrics["gates_passed"], metrics["lengths"]
    secondary = []
    for length in sorted({cell["length"] for cell in metrics["needles"]}):
        cells = [cell for cell in metrics["needles"] if cell["length"] == length]
        found, total = sum(cell["accuracy"] * cell["n"] for cell in cells), sum(cell["n"] for cell in cells)
        rate = to_percent(statistics.wilson(found, total))
        secondary.append(finding(rate, "%", f"needles found at {length:,} tokens", over="prompts"))
    secondary.append(finding(metrics["short_loss_change"], LOSS_UNIT, "short-context loss, after minus before"))
    detail = f"Context of {metrics['context_length']:,} tokens after {len(metrics['gate'])} segments."
    if num_passed < num_lengths:
        detail += " A length that fails the gate does not contradict the claim."
    return finding(
        point(num_passed, num_lengths),
        "lengths",
        f"lengths that pass the gate (loss recovered, needles found), of {num_lengths}",
        Expectation("above", num_lengths - 1, is_exact=True),
        detail=detail,
        is_conclusive=num_passed == num_lengths,
        secondary=secondary,
    )
