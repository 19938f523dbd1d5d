"""Storage of a run (3.1, 3.3.1): bytes of pages, text, tokens and checkpoints, and the cost of writing checkpoints."""

from collections.abc import Mapping
from typing import Any

from stages.infrastructure.reliability import MINUTES, Reliability, best_checkpoint_interval, effective_time

TEXT_STAGES = 7
"""Curation stages that write all documents: extraction, personal data, dedup, heuristics, quality, topics, prompts."""
PARQUET = 0.31
"""Bytes of Parquet per byte of text (measured at the toy scale)."""
KEPT_CHECKPOINTS = 2
"""Default of `stages.training.checkpoint`."""


def checkpoint_stalls(options: Reliability, speeds: Mapping[str, float]) -> dict[str, Any]:
    """Size of a checkpoint, and the cost of writing it at each named speed in bytes per second. Worst case: training
    stops during the write."""
    size = options.parameters * options.bytes_per_parameter
    interval = options.checkpoint_days
    rows = []
    for name, speed in speeds.items():
        days = size / speed / 86_400
        best = best_checkpoint_interval(options.failure_rate, days, options.down_days)
        rows.append(
            {
                "storage": name,
                "bytes_per_second": speed,
                "seconds": size / speed,
                "share_of_time": days / (days + interval),
                "effective": effective_time(options.failure_rate, interval, days, options.down_days),
                "best_interval_minutes": best / MINUTES,
                "effective_at_best": effective_time(options.failure_rate, best, days, options.down_days),
            }
        )
    return {
        "bytes": size,
        "bytes_per_gpu": size / options.gpus,
        "interval_minutes": options.checkpoint_minutes,
        "stalls": rows,
    }


def storage_volumes(
    tokens: float, vocab_size: int, bytes_per_token: float, kept_share: float, checkpoint: float
) -> dict[str, float]:
    """Bytes on disk for one pass over `tokens`; `kept_share` is the bytes of text that curation keeps per byte of WARC.
    Each curation stage is counted with the final size of the text, which is slightly too low."""
    text = tokens * bytes_per_token
    volumes = {
        "pages": text / kept_share,
        "text": text,
        "curation": TEXT_STAGES * PARQUET * text,
        "tokens": tokens * (2 if vocab_size <= 1 << 16 else 4),
        "checkpoints": KEPT_CHECKPOINTS * checkpoint,
    }
    return volumes | {"total": sum(size for name, size in volumes.items() if name != "text")}
