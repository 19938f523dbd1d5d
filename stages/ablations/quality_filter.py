"""Model-based quality filtering (3.1.1): the documents that the classifiers rate best, against random documents.

The scores of all documents come from the stage `curation.classify` without thresholds.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.ablations.corpora import CorpusComparison, compare_corpora, make_once, read_documents
from stages.ablations.effects import difference
from stages.ablations.trial import TrialConfig
from stages.curation import classify
from stages.interface import Context, Metrics, Paths


class QualityComparison(CorpusComparison):
    """Training and held-out documents, and the share that the filter keeps."""

    keep: float = Field(gt=0, lt=1)
    """Share of the documents that the filtered corpus keeps, by quality score (assumption)."""


@dataclass(frozen=True)
class Config(TrialConfig):
    classify: Annotated[classify.Classify, "curation.classify"]
    comparison: Annotated[QualityComparison, "ablations.quality_filter"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """filtered (the input of classify), corpus, tokenizer."""
    options = config.comparison
    no_thresholds, filtered = remove_thresholds(config), {"documents": inputs["filtered"]}
    scored = make_once(
        context.scratch / "scored", lambda out: classify.run(no_thresholds, filtered, {"documents": out}, context)
    )
    documents = read_documents(scored, options.sources)
    threshold = float(np.quantile([document["quality"] for document in documents], 1 - options.keep))
    quality, judge = config.classify.quality, config.classify.judge
    variants = {
        "best": [document for document in documents if document["quality"] >= threshold],
        "random": documents,
        "pipeline": [each for each in documents if classify.low_quality(each, quality, judge.threshold) is None],
    }
    share = 100 * len(variants["pipeline"]) / len(documents)
    quantity = f"loss on random documents minus on the best {100 * options.keep:.0f}% by quality, equal tokens"
    pipeline = f"... minus on what the pipeline's thresholds keep ({share:.0f}% of the documents)"
    return compare_corpora(
        config,
        options,
        variants,
        inputs,
        context,
        difference(quantity, "random", "best"),
        [difference(pipeline, "random", "pipeline")],
        quality_bar=threshold,
    )


def remove_thresholds(config: Config) -> classify.Config:
    """The same classifiers, without dropping a document."""
    options = config.classify
    changed = {
        "quality": options.quality.model_copy(update={"threshold": 0.0, "lowest": 0.0}),
        "judge": options.judge.model_copy(update={"threshold": 0.0}),
    }
    return classify.Config(options.model_copy(update=changed))
