"""Loss spikes (3.4.1): steps whose loss is far above that of the steps before, and the samples of their batch."""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from stages.training.batches import Batches

MAX_NAMES = 8
"""Samples of a batch that a note names; `herd inspect` prints all of them."""


def threshold(losses: Sequence[float], deviations: float) -> float:
    """Loss above which a step is a spike: the median of `losses` plus `deviations` robust standard deviations.

    The standard deviation is estimated as 1.4826 times the median absolute deviation, so that spikes in the window do
    not hide the next one. Infinite if that is 0.
    """
    values = np.asarray(losses)
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return median + deviations * deviation if deviation > 0 else float("inf")


def is_spike(loss: float, history: Sequence[Mapping[str, float]], window: int, deviations: float) -> bool:
    """Whether the step after `history` with this loss is a spike; False for the first `window` steps."""
    if not window or len(history) < window:
        return False
    return loss > threshold([record["loss"] for record in history[-window:]], deviations)


def sample_names(batches: Batches, step: int) -> str:
    """The names of a step's samples for a note, at most MAX_NAMES of them."""
    names = [sample.name for sample in islice(batches.samples(step), MAX_NAMES + 1)]
    return "; ".join(names[:MAX_NAMES]) + (" and others" if len(names) > MAX_NAMES else "")


def count_spikes(history: Sequence[Mapping[str, float]]) -> int:
    """Number of spikes in a history."""
    return int(sum(record["spike"] for record in history))
