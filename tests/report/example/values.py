"""Intervals of the example run, and its files."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Records = list[dict[str, Any]]


def interval(value: float, half_width: float, n: int = 100) -> dict[str, float]:
    return {"value": value, "low": value - half_width, "high": value + half_width, "n": n}


def rate(p: float, n: int) -> dict[str, float]:
    """A rate over prompts with two phrasings of each problem."""
    return interval(p, 1.96 * math.sqrt(p * (1 - p) / n), n) | {"clusters": max(1, n // 2)}


def before_after(before: float, after: float, n: int = 100) -> dict[str, Any]:
    change = interval(after - before, 0.08, n) | {"clusters": n // 2}
    return {"before": rate(before, n), "after": rate(after, n), "change": change}


def save_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def save_records(path: Path, records: Records) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)
