"""Heuristic filters (3.1.1): the corpus with and without them, and the documents removed by reason."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import pyarrow.parquet as pq

from stages.ablations.corpora import CorpusComparison, compare_corpora, read_documents
from stages.ablations.effects import difference, exact
from stages.ablations.trial import TrialConfig
from stages.interface import Context, Metrics, Paths


@dataclass(frozen=True)
class Config(TrialConfig):
    comparison: Annotated[CorpusComparison, "ablations.heuristic_filter"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """deduplicated (before the filters), filtered (after them), corpus, tokenizer."""
    options = config.comparison
    variants = {
        "without": read_documents(inputs["deduplicated"], options.sources),
        "with": read_documents(inputs["filtered"], options.sources),
    }
    removed = pq.read_table(inputs["filtered"] / "removed.parquet", columns=["id", "reason"]).to_pylist()
    ids = {document["id"] for document in variants["without"]}
    reasons = Counter(record["reason"] for record in removed if record["id"] in ids)
    secondary = [
        exact(f"documents removed: {reason}", "% of documents", 100 * count / len(ids), len(ids))
        for reason, count in sorted(reasons.items())
    ]
    effect = difference("loss without heuristics minus with them, equal tokens", "without", "with")
    return compare_corpora(config, options, variants, inputs, context, effect, secondary)
