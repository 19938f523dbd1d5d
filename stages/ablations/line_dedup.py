"""Line-level de-duplication (3.1.1): a corpus with and without the lines that repeat too often in their bucket.

Without: the stage `curation.dedup` run once more with no limit on the occurrences of a line.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from stages.ablations.corpora import Comparison, certain, once, race, read
from stages.ablations.trial import NATS, TrialConfig, compare, entry, findings
from stages.curation import dedup
from stages.interface import Context, Metrics, Paths

NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Config(TrialConfig):
    dedup: Annotated[dedup.Dedup, "curation.dedup"]
    comparison: Annotated[Comparison, "ablations.line_dedup"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """masked (what dedup reads), deduplicated, corpus, tokenizer."""
    options = config.comparison
    lines = config.dedup.lines.model_copy(update={"most": NO_LIMIT, "characters": 0})
    unlimited = dedup.Config(config.seed, config.dedup.model_copy(update={"lines": lines}))
    masked = {"documents": inputs["masked"]}
    without = once(context.scratch / "without", lambda out: dedup.run(unlimited, masked, {"documents": out}, context))
    variants = {"with": read(inputs["deduplicated"], options.sources), "without": read(without, options.sources)}
    clean = read(inputs["corpus"], options.held_out)
    rows, made = race(config, options, variants, clean, inputs["tokenizer"], context)
    removed = 1 - characters(variants["with"]) / characters(variants["without"])
    share = entry("text removed as repeated lines", "% of characters", certain(100 * removed, len(variants["without"])))
    effect = entry("loss without line dedup minus with it, equal tokens", NATS, compare(rows, "without", "with"))
    return findings(effect, [share], rows, made)


def characters(rows: list[dict[str, Any]]) -> int:
    """Of all texts."""
    return sum(len(row["text"]) for row in rows)
