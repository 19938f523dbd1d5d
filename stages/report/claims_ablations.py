"""Claims that the default run does not measure: what the ablations last found, and when (3.1, 3.2, 3.4)."""

from collections.abc import Mapping
from typing import Any

from stages.report.evidence import Evidence
from stages.report.verdict import ABOVE, Claim, Expectation, Finding, finding

LIMITED = 1.0
"""Percent of the loss within which an impact counts as limited (assumption; the paper gives no number)."""


def ablation(name: str, section: str, statement: str, paper: str, expected: Expectation, detail: str = "") -> Claim:
    """The claim whose effect stands in ablations/results/<name>.json."""

    def measure(evidence: Evidence) -> Finding:
        record = evidence.ablation(name)
        effect = record["effect"]
        also = tuple(finding(row, row["unit"], row["compared"]) for row in record["also"])
        return finding(
            effect,
            effect["unit"],
            effect["compared"],
            expected,
            detail=" ".join(filter(None, (detail, provenance(record)))),
            also=also,
        )

    return Claim(name, section, statement, paper, measure)


def provenance(record: Mapping[str, Any]) -> str:
    """When and how an ablation was made."""
    made, seeds = record["made"], len({row["seed"] for row in record["runs"]})
    changed = " with changes" if str(made["commit"]).endswith("-dirty") else ""
    commit = f", commit {made['commit'][:8]}{changed}" if made["commit"] else ""
    return (
        f"No part of this run: measured on {made['date']} at scale {made['scale']}{commit}, configuration "
        f"{made['configuration']}; {len(record['runs'])} runs, {seeds} seeds."
    )


ABLATIONS = (
    ablation(
        "data-04",
        "3.1.1",
        "Lines that repeat in a bucket are boilerplate: without them models are better",
        "strong gains",
        ABOVE,
    ),
    ablation(
        "data-05", "3.1.1", "Heuristics remove repeated and outlier text: without it models are better", "method", ABOVE
    ),
    ablation(
        "data-06",
        "3.1.1",
        "Model-based quality filtering gives better tokens",
        "yes",
        ABOVE,
        "Held-out documents: edited sources; the quality classifier has labels of these sources.",
    ),
    ablation(
        "data-08",
        "3.1.2",
        "Small models choose the data mix of a large one",
        "method",
        ABOVE,
        "A correlation above 0 says that the small models rank the mixes as the larger one does.",
    ),
    ablation(
        "data-09",
        "3.1.3",
        "Annealing on high-quality data lifts a small model's tasks",
        "GSM8k +24.0%, MATH +6.4% (8B)",
        ABOVE,
    ),
    ablation("data-10", "3.1.3", "... and a large one's hardly", "negligible (405B)", ABOVE),
    ablation("data-11", "3.1.3", "Annealing on 30% of it tells a good small data set from a bad one", "method", ABOVE),
    ablation(
        "arch-02",
        "3.2",
        "Masking other documents matters little in standard pretraining",
        "limited impact",
        Expectation("within", LIMITED),
        f"Limited: within {LIMITED:g}% of the loss (an assumption).",
    ),
    ablation("arch-03", "3.2", "... and is important on long sequences", "important", ABOVE),
    ablation(
        "arch-04",
        "3.2",
        "Grouped queries decode faster, from a smaller cache",
        "yes",
        Expectation("above", 1.0),
        "Times differ from run to run; the interval is over rounds in which both were timed in turns.",
    ),
    ablation("arch-06", "1, 3.2", "Dense models train more stably than mixtures of experts", "choice of dense", ABOVE),
    ablation(
        "scal-06",
        "1, 3.4",
        "Members trained past their optimum beat optimal ones at equal inference cost",
        "yes",
        ABOVE,
    ),
)
