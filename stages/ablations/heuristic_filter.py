"""Heuristic filters (3.1.1): the corpus before and after them, and what they removed for which reason."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import pyarrow.parquet as pq

from stages.ablations.corpora import Comparison, certain, race, read
from stages.ablations.trial import NATS, TrialConfig, compare, entry, findings
from stages.interface import Context, Metrics, Paths


@dataclass(frozen=True)
class Config(TrialConfig):
    comparison: Annotated[Comparison, "ablations.heuristic_filter"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """deduplicated (before), filtered (after), corpus, tokenizer."""
    options = config.comparison
    variants = {
        "without": read(inputs["deduplicated"], options.sources),
        "with": read(inputs["filtered"], options.sources),
    }
    clean = read(inputs["corpus"], options.held_out)
    rows, made = race(config, options, variants, clean, inputs["tokenizer"], context)
    removed = pq.read_table(inputs["filtered"] / "removed.parquet", columns=["id", "reason"]).to_pylist()
    among = {row["id"] for row in variants["without"]}
    reasons = Counter(row["reason"] for row in removed if row["id"] in among)
    also = [
        entry(f"documents removed: {reason}", "% of documents", certain(100 * count / len(among), len(among)))
        for reason, count in sorted(reasons.items())
    ]
    effect = entry("loss without heuristics minus with them, equal tokens", NATS, compare(rows, "without", "with"))
    return findings(effect, also, rows, made)
