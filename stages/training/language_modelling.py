"""Next-token prediction on packed documents: the loss, the batches, and the held-out loss of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.model.llama import Llama
from stages.training.loader import IGNORE, Mixture, TokenBatch, TokenShards
from stages.training.loop import Training, precision


def next_token_loss(model: Llama, batch: TokenBatch) -> tuple[Tensor, dict[str, float]]:
    """Negative log-likelihood in nats, summed over the targets."""
    logits = model(batch.tokens, batch.starts)
    flat = logits.flatten(0, 1).float()
    return F.cross_entropy(flat, batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"), {}


@dataclass(frozen=True)
class MixtureBatches:
    """Batches of `size` consecutive samples of a mixture, in micro-batches of at most `micro_tokens` tokens."""

    mixture: Mixture
    size: int
    micro_tokens: int
    first_sample: int = 0

    @property
    def fingerprint(self) -> str:
        return f"{self.mixture.fingerprint}/{self.size}/{self.first_sample}"

    def __call__(self, step: int) -> Sequence[TokenBatch]:
        first = self.first_sample + step * self.size
        micro = max(1, self.micro_tokens // self.mixture.length)
        cuts = range(first, first + self.size, micro)
        return [self.mixture.batch(cut, min(micro, first + self.size - cut)) for cut in cuts]


@torch.inference_mode()
def held_out_losses(model: Llama, mixture: Mixture, samples: int, training: Training, size: int = 16) -> np.ndarray:
    """Mean loss in nats per token of each of the first `samples` windows of a held-out mixture, [samples].

    Fewer where a bucket has fewer: a window counted twice would make the interval narrower than it is.
    """
    model.eval()
    samples = mixture.distinct(samples)
    losses: list[Tensor] = []
    for first in range(0, samples, size):
        batch = mixture.batch(first, min(size, samples - first))
        with precision(training):
            logits = model(batch.tokens, batch.starts)
        each = F.cross_entropy(
            logits.float().transpose(1, 2), batch.targets, ignore_index=IGNORE, reduction="none"
        ).double()
        losses.append(each.sum(1) / (batch.targets != IGNORE).sum(1))
    return torch.cat(losses).numpy()


def held_out(shards: TokenShards, shares: Mapping[str, float], length: int, seed: int) -> Mixture:
    """The validation documents in the shares of the mix."""
    return Mixture(shards, "validation", shares, length, seed)
