"""What a run keeps and how long writing it takes (3.1, 3.3.1): pages, text, tokens and checkpoints."""

from collections.abc import Mapping
from typing import Any

from stages.infrastructure.reliability import MINUTES, Reliability, best_interval, effective

TEXT_STAGES = 7
"""Stages of curation that write the documents anew: extraction, personal data, dedup, heuristics, quality, test
prompts."""
PARQUET = 0.31
"""Bytes of Parquet per byte of text in it (measured at the toy scale)."""
KEPT_CHECKPOINTS = 2
"""As `stages.training.checkpoint` keeps them."""


def stalls(options: Reliability, speeds: Mapping[str, float]) -> dict[str, Any]:
    """What a checkpoint weighs, and what writing it costs at each named speed in bytes per second: the run stands still
    meanwhile, the worst case."""
    size = options.parameters * options.bytes_per_parameter
    rows = []
    for name, speed in speeds.items():
        days = size / speed / 86_400
        best = best_interval(options.rate, days, options.down_days)
        rows.append(
            {
                "storage": name,
                "bytes_per_second": speed,
                "seconds": size / speed,
                "share_of_time": days / (days + options.checkpoint_minutes * MINUTES),
                "effective": effective(options.rate, options.checkpoint_minutes * MINUTES, days, options.down_days),
                "best_interval_minutes": best / MINUTES,
                "effective_at_best": effective(options.rate, best, days, options.down_days),
            }
        )
    return {
        "bytes": size,
        "bytes_per_gpu": size / options.gpus,
        "interval_minutes": options.checkpoint_minutes,
        "stalls": rows,
    }


def volumes(
    tokens: float, vocab_size: int, bytes_per_token: float, kept_share: float, checkpoint: float
) -> dict[str, float]:
    """Bytes of everything that lies on disk for one pass over `tokens`; `kept_share` is the text that curation leaves
    of a byte of WARC. Text is counted at its final size in each stage of curation, which is a little too low."""
    text = tokens * bytes_per_token
    found = {
        "pages": text / kept_share,
        "text": text,
        "curation": TEXT_STAGES * PARQUET * text,
        "tokens": tokens * (2 if vocab_size <= 1 << 16 else 4),
        "checkpoints": KEPT_CHECKPOINTS * checkpoint,
    }
    return found | {"total": sum(size for name, size in found.items() if name != "text")}
