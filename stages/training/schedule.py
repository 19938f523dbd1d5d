"""Learning-rate schedules (3.4.1, 3.4.3): linear warm-up, then cosine, linear, or constant."""

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["cosine", "linear", "constant"]


def count_steps(tokens: float, batch_tokens: int) -> int:
    """Steps of `batch_tokens` tokens in a budget of `tokens`, rounded, at least 1."""
    return max(1, round(tokens / batch_tokens))


@dataclass(frozen=True)
class Schedule:
    """Rises to `peak` over `warmup` steps, then decays to `floor` x peak over the rest of `steps`."""

    peak: float
    steps: int
    warmup: int = 0
    decay: Decay = "cosine"
    floor: float = 0.0

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.peak
        # The floor is reached after the last step, which runs one step above it.
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        factor = 0.5 * (1 + math.cos(math.pi * progress)) if self.decay == "cosine" else 1 - progress
        return self.peak * (self.floor + (1 - self.floor) * factor)
