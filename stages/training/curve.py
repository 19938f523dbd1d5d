"""Training curves as files, for `dvc plots` and the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.training.batches import History


def write_curve(path: Path, history: History) -> None:
    """A curve as CSV, a row per step."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(f"{row[column]:.9g}" for column in columns) for row in history)]
    path.write_text("\n".join(lines) + "\n")


def tail_mean(history: Sequence[Mapping[str, float]], column: str = "loss", steps: int | None = None) -> float:
    """Mean of a column over the last steps; None: over the last twentieth of them."""
    count = max(1, round(0.05 * len(history))) if steps is None else steps
    return float(np.mean([row[column] for row in history[-count:]]))
