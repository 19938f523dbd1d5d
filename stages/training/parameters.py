"""Parameters of every training: the optimizer, precision, checkpoints, and how loss spikes are found."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from stages.interface import Section
from stages.training.optimizer import AdamW

Precision = Literal["bf16", "fp32"]


class Training(Section):
    """How every model is trained, whatever its loss."""

    result_neutral = frozenset({"checkpoint_seconds", "keep_checkpoints"})

    beta1: float = Field(gt=0, lt=1)
    """AdamW's decay of the first moment (assumption; the paper gives none, Llama 2 used 0.9)."""
    beta2: float = Field(gt=0, lt=1)
    """AdamW's decay of the second moment (assumption; Llama 2 used 0.95)."""
    eps: float = Field(gt=0)
    """AdamW's epsilon (assumption; Llama 2 used 1e-5, torch's default is 1e-8)."""
    weight_decay: float = Field(ge=0)
    """Decay of weight matrices at each step, times the learning rate of that step (paper 3.2.1: 0.1 x LR)."""
    clip: float = Field(gt=0)
    """Largest norm of the gradient; larger ones are scaled down to it (assumption; Llama 2 used 1.0)."""
    precision: Precision
    """Type of matrix products: bf16 by autocast, weights and moments always float32 (paper 3.3.2: BF16 training)."""
    compile: bool
    """Run the layers and the loss of pretraining, whose batches have few shapes, through torch.compile: faster after
    about half a minute of compilation for each shape, with other rounding; single process only (assumption)."""
    micro_tokens: int = Field(gt=0)
    """Tokens a device computes at once; a larger batch is split into micro-batches of about this size (assumption; fits
    the memory)."""
    checkpoint_seconds: float = Field(gt=0)
    """Seconds between checkpoints of the training state: how much a kill loses, never the result (assumption)."""
    keep_checkpoints: int = Field(ge=1)
    """Checkpoints of a run that are kept; with one there is no fallback if it is damaged (assumption)."""
    spike_window: int = Field(ge=0)
    """Preceding steps whose median loss is the baseline for spikes; 0: spikes are not detected (assumption)."""
    spike_deviations: float = Field(gt=0)
    """Robust standard deviations above that median at which a loss is a spike: it is logged with the batch's samples
    (assumption; paper 3.4.1: few spikes, none of which needed an intervention)."""
    spike_steps: int = Field(ge=0)
    """Consecutive spikes that stop the run as diverged; the checkpoint from before them is kept; 0: never
    (assumption)."""

    @model_validator(mode="after")
    def _check_spike_window(self) -> "Training":
        if 2 * self.spike_steps > self.spike_window:
            raise ValueError(
                f"spike_steps {self.spike_steps} is more than half of spike_window {self.spike_window}: "
                "the median would have followed the spikes by then"
            )
        return self


def make_optimizer(model: nn.Module, training: Training) -> AdamW:
    """AdamW with the parameters' settings."""
    return AdamW(model, training.beta1, training.beta2, training.eps, training.weight_decay)


def autocast(training: Training) -> torch.autocast:
    """The context in which losses are computed."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=training.precision == "bf16")
