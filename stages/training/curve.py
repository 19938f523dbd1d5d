"""Training curves as files, for `dvc plots` and the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.training.batches import History


def write_curve(path: Path, history: History) -> None:
    """Writes a history as CSV, one line per step."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(f"{record[column]:.9g}" for column in columns) for record in history)]
    path.write_text("\n".join(lines) + "\n")


def tail_mean(history: Sequence[Mapping[str, float]], column: str = "loss", steps: int | None = None) -> float:
    """Mean of a column over the last `steps` steps; None: over the last 5%."""
    count = max(1, round(0.05 * len(history))) if steps is None else steps
    return float(np.mean([record[column] for record in history[-count:]]))
