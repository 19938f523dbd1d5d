"""Line-level de-duplication (3.1.1): a corpus with and without the lines that repeat too often in their bucket.

The corpus without it comes from the stage `curation.dedup` with no limit on the occurrences of a line.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from stages.ablations.corpora import CorpusComparison, compare_corpora, make_once, read_documents
from stages.ablations.effects import difference, exact
from stages.ablations.trial import TrialConfig
from stages.curation import dedup
from stages.interface import Context, Metrics, Paths

NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Config(TrialConfig):
    dedup: Annotated[dedup.Dedup, "curation.dedup"]
    comparison: Annotated[CorpusComparison, "ablations.line_dedup"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """masked (the input of dedup), deduplicated, corpus, tokenizer."""
    options = config.comparison
    lines = config.dedup.lines.model_copy(update={"most": NO_LIMIT, "characters": 0})
    unlimited = dedup.Config(config.seed, config.dedup.model_copy(update={"lines": lines}))
    masked = {"documents": inputs["masked"]}
    without = make_once(
        context.scratch / "without", lambda out: dedup.run(unlimited, masked, {"documents": out}, context)
    )
    variants = {
        "with": read_documents(inputs["deduplicated"], options.sources),
        "without": read_documents(without, options.sources),
    }
    removed = 1 - count_characters(variants["with"]) / count_characters(variants["without"])
    share = exact("text removed as repeated lines", "% of characters", 100 * removed, len(variants["without"]))
    effect = difference("loss without line dedup minus with it, equal tokens", "without", "with")
    return compare_corpora(config, options, variants, inputs, context, effect, [share])


def count_characters(documents: list[dict[str, Any]]) -> int:
    """Characters of all texts."""
    return sum(len(document["text"]) for document in documents)
