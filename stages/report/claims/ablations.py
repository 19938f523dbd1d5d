"""Claims that the default run does not measure: the last result of each ablation, with its date (3.1, 3.2, 3.4)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stages.report.evidence import Evidence, NotMeasured
from stages.report.verdict import ABOVE, MIN_SEEDS, Claim, ClaimFamily, Expectation, Finding, Population, finding

LIMITED_IMPACT = 1.0
"""Percent of the loss up to which an impact counts as limited (assumption: the paper gives no number)."""

claims = ClaimFamily()


def read_ablation(
    evidence: Evidence, id: str, expected: Expectation, detail: str = "", over: Population = "seeds"
) -> Finding:
    """The effect in ablations/results/<id>.json; raises NotMeasured without this record."""
    record = evidence.ablation(id)
    effect = record["effect"]
    text = " ".join(filter(None, (detail, format_provenance(record))))
    secondary = [finding(other, other["unit"], other["quantity"], over=over) for other in record["secondary"]]
    return finding(effect, effect["unit"], effect["quantity"], expected, detail=text, over=over, secondary=secondary)


def prefer_seeds(evidence: Evidence, id: str, found: Finding) -> Finding:
    """The ablation's effect over seeds if there is a record with enough of them, with this run's number as a secondary
    finding; else this run's finding, unchanged."""
    assert found.expected
    try:
        over_seeds = read_ablation(evidence, id, found.expected)
    except NotMeasured:
        return found
    if over_seeds.n < MIN_SEEDS:
        return found
    of_this_run = replace(found, quantity=f"this run: {found.quantity}", secondary=())
    secondary = (of_this_run, *over_seeds.secondary, *found.secondary)
    detail = " ".join(filter(None, (over_seeds.detail, found.detail)))
    return replace(over_seeds, control=found.control, detail=detail, secondary=secondary)


def register_ablation(
    id: str,
    section: str,
    statement: str,
    paper: str,
    expected: Expectation = ABOVE,
    detail: str = "",
    over: Population = "seeds",
) -> None:
    """Registers the claim whose effect is in ablations/results/<id>.json."""

    def measure(evidence: Evidence) -> Finding:
        return read_ablation(evidence, id, expected, detail, over)

    claims.append(Claim(id, section, statement, paper, measure, is_training_choice=over == "seeds"))


def format_provenance(record: Mapping[str, Any]) -> str:
    """When and with which code and configuration an ablation was run."""
    made, num_seeds = record["made"], len({run["seed"] for run in record["runs"]})
    changed = " with changes" if str(made["commit"]).endswith("-dirty") else ""
    commit = f", commit {made['commit'][:8]}{changed}" if made["commit"] else ""
    return (
        f"Not part of this run: measured on {made['date']} at scale {made['scale']}{commit}, configuration "
        f"{made['configuration']}; {len(record['runs'])} runs, {num_seeds} seeds."
    )


register_ablation("data-04", "3.1.1", "Removing repeated boilerplate lines gives better models", "strong gains")
register_ablation("data-05", "3.1.1", "Heuristic filters of repeated and outlier text give better models", "method")
register_ablation(
    "data-06",
    "3.1.1",
    "Model-based quality filtering gives better tokens",
    "yes",
    detail="Held-out documents are from edited sources; the quality classifier was trained on labels of these sources.",
)
register_ablation(
    "data-08",
    "3.1.2",
    "Small models choose the data mix of a large model",
    "method",
    detail="A correlation above 0 means that small models rank the mixes as the larger model does.",
)
register_ablation(
    "data-09",
    "3.1.3",
    "Annealing on high-quality data improves a small model's accuracy on the tasks of the up-sampled domains",
    "GSM8k +24.0%, MATH +6.4% (8B)",
)
register_ablation("data-10", "3.1.3", "Annealing on high-quality data hardly helps a large model", "negligible (405B)")
register_ablation("data-11", "3.1.3", "Annealing with 30% of a small data set measures its quality", "method")
register_ablation(
    "arch-02",
    "3.2",
    "The document mask has limited impact in standard pretraining",
    "limited impact",
    Expectation("within", LIMITED_IMPACT),
    f"Limited means within {LIMITED_IMPACT:g}% of the loss (an assumption).",
)
register_ablation("arch-03", "3.2", "The document mask is important on long sequences", "important")
register_ablation(
    "arch-04",
    "3.2",
    "Grouped-query attention decodes faster with a smaller KV cache",
    "yes",
    Expectation("above", 1.0),
    "Times vary between runs; the interval is over rounds that timed both variants in turn.",
    over="timings",
)
register_ablation("arch-06", "1, 3.2", "Dense models train more stably than mixtures of experts", "choice of dense")
register_ablation(
    "scal-06", "1, 3.4", "Over-trained members beat compute-optimal models at equal inference cost", "yes"
)
register_ablation(
    "post-04", "4.2.2", "Rejection sampling with the reward model gives better SFT data than random answers", "yes"
)
