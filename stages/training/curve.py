"""Training curves as files, for `dvc plots` and the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.training.loop import History


def write_curve(path: Path, history: History) -> None:
    """A curve as CSV, a row per step."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(f"{row[column]:.9g}" for column in columns) for row in history)]
    path.write_text("\n".join(lines) + "\n")


def tail_mean(history: Sequence[Mapping[str, float]], share: float = 0.05) -> float:
    """Mean training loss over the last steps."""
    count = max(1, round(share * len(history)))
    return float(np.mean([row["loss"] for row in history[-count:]]))
