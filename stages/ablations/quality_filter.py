"""Model-based quality filtering (3.1.1): documents the classifiers prefer against documents drawn at random.

The stage `curation.classify` is run once more without thresholds, so that every document has its scores.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.ablations.corpora import Comparison, once, race, read
from stages.ablations.trial import NATS, TrialConfig, compare, entry, findings
from stages.curation import classify
from stages.interface import Context, Metrics, Paths


class QualityComparison(Comparison):
    """What is trained on and measured on, and how much the filter keeps."""

    keep: float = Field(gt=0, lt=1)
    """Share of the documents that the filtered corpus keeps, those of the highest quality score (assumption)."""


@dataclass(frozen=True)
class Config(TrialConfig):
    classify: Annotated[classify.Classify, "curation.classify"]
    comparison: Annotated[QualityComparison, "ablations.quality_filter"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """filtered (what classify reads), corpus, tokenizer."""
    options = config.comparison
    lenient, filtered = without_thresholds(config), {"documents": inputs["filtered"]}
    scored = once(context.scratch / "scored", lambda out: classify.run(lenient, filtered, {"documents": out}, context))
    every = read(scored, options.sources)
    bar = float(np.quantile([row["quality"] for row in every], 1 - options.keep))
    quality, judge = config.classify.quality, config.classify.judge
    passed = [row for row in every if classify.low(row, quality, judge.threshold) is None]
    variants = {"best": [row for row in every if row["quality"] >= bar], "random": every, "pipeline": passed}
    clean = read(inputs["corpus"], options.held_out)
    rows, made = race(config, options, variants, clean, inputs["tokenizer"], context)
    what = f"loss on random documents minus on the best {100 * options.keep:.0f}% by quality, equal tokens"
    share = 100 * len(passed) / len(every)
    also = [
        entry(
            f"... minus on what the pipeline's thresholds keep ({share:.0f}% of the documents)",
            NATS,
            compare(rows, "random", "pipeline"),
        )
    ]
    return findings(entry(what, NATS, compare(rows, "random", "best")), also, rows, made | {"quality_bar": bar})


def without_thresholds(config: Config) -> classify.Config:
    """The same classifiers, and no document dropped."""
    options = config.classify
    changed = {
        "quality": options.quality.model_copy(update={"threshold": 0.0, "lowest": 0.0}),
        "judge": options.judge.model_copy(update={"threshold": 0.0}),
    }
    return classify.Config(options.model_copy(update=changed))
