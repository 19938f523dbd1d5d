"""Loss spikes (3.4.1): a step whose loss lies far above those before it, and which samples it was."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

NAMED = 8
"""Samples of a batch that a note names; the rest is printed by `python -m flows.inspect`."""


def threshold(losses: Sequence[float], deviations: float) -> float:
    """Loss above which a step is a spike: the median of `losses` plus so many robust standard deviations.

    The standard deviation is 1.4826 times the median absolute deviation, as of a normal distribution, so that the
    spikes in a window do not hide the next one. Infinite where the losses have no spread.
    """
    values = np.asarray(losses)
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    return median + deviations * spread if spread > 0 else float("inf")


def is_spike(loss: float, history: Sequence[Mapping[str, float]], window: int, deviations: float) -> bool:
    """Whether the step after `history` with this loss is one; never before `window` steps have been seen."""
    if not window or len(history) < window:
        return False
    return loss > threshold([row["loss"] for row in history[-window:]], deviations)


def sample_names(batches: Any, step: int) -> str:
    """The samples of a step for a note, the first NAMED of them."""
    found = [sample.name for sample in islice(batches.samples(step), NAMED + 1)]
    return "; ".join(found[:NAMED]) + (" and others" if len(found) > NAMED else "")


def count_spikes(history: Sequence[Mapping[str, float]]) -> int:
    """Spikes on a curve."""
    return int(sum(row["spike"] for row in history))
