"""Next-token prediction on packed documents: the loss, the batches, and a model's held-out loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.model.llama import Llama
from stages.training.compiled import cross_entropy
from stages.training.loader import IGNORE_INDEX, Mixture, TokenBatch, TokenShards, split_micro_batches
from stages.training.parameters import Training
from stages.training.sample import LabeledSequence, Sample
from stages.training.strategy import SINGLE_PROCESS, Strategy

LOSS_SCOPE = "every token counts in the loss but the first of a sequence and of a document"


def next_token_loss(model: Llama, batch: TokenBatch) -> tuple[Tensor, dict[str, float]]:
    """Negative log-likelihood in nats, summed over the targets."""
    logits = model(batch.tokens, batch.starts)
    return cross_entropy(model, logits, batch.targets, IGNORE_INDEX), {}


@dataclass(frozen=True)
class MixtureBatches:
    """Batches of `size` consecutive samples of a mixture, in micro-batches of about `micro_tokens` tokens.

    The fingerprint does not depend on the data-parallel rank, so that a checkpoint resumes on another number of ranks.
    """

    mixture: Mixture
    size: int
    micro_tokens: int
    first_sample: int = 0
    rank: int = 0
    world: int = 1
    few_shapes: ClassVar[bool] = True

    @property
    def batch_tokens(self) -> int:
        """Tokens of a step."""
        return self.size * self.mixture.length

    @property
    def fingerprint(self) -> str:
        return f"{self.mixture.fingerprint}/{self.size}/{self.first_sample}"

    def __call__(self, step: int) -> Sequence[TokenBatch]:
        first = self.first_sample + step * self.size
        micro = max(1, self.micro_tokens // self.mixture.length)
        micro_batches = split_micro_batches(self.size, micro, self.rank, self.world)
        return [self.mixture.gather([first + index for index in indices]) for indices in micro_batches]

    def for_rank(self, rank: int, world: int, pieces: int = 1) -> "MixtureBatches":
        return replace(self, rank=rank, world=world, micro_tokens=self.micro_tokens * pieces)

    def samples(self, step: int) -> Iterator[Sample]:
        """Bucket and window of each sample, with its tokens."""
        for number in range(self.first_sample + step * self.size, self.first_sample + (step + 1) * self.size):
            bucket, window = self.mixture.locate(number)
            batch = self.mixture.batch(number, 1)
            row = LabeledSequence.from_targets(batch.tokens[0].tolist(), batch.targets[0].tolist(), IGNORE_INDEX)
            name = f"sample {number}: {bucket}, window {window} of {self.mixture.windows[bucket]}"
            yield Sample(name, {"text": row})


def held_out_losses(
    model: Llama, mixtures: Sequence[Mixture], samples: int, training: Training, strategy: Strategy = SINGLE_PROCESS
) -> list[np.ndarray]:
    """Mean loss in nats per token of each of the first `samples` windows of held-out mixtures, [samples] for each.

    Fewer if a bucket has fewer: counting a window twice would make the interval too narrow. All mixtures are evaluated
    together, so that the model is sharded over the ranks only once.
    """
    size = 16 * strategy.dp_size
    counts = [mixture.count_distinct(samples) for mixture in mixtures]
    weights: list[Tensor] = []

    def batches() -> Iterator[TokenBatch]:
        for mixture, count in zip(mixtures, counts, strict=True):
            for first in range(0, count, size):
                batch = mixture.batch(first, min(size, count - first))
                weights.append((batch.targets != IGNORE_INDEX).sum(1))
                yield batch

    sums = strategy.evaluate(model, batches(), row_losses, training)
    return [losses.numpy() for losses in (sums / torch.cat(weights)).split(counts)]


def row_losses(model: Llama, batch: TokenBatch) -> Tensor:
    """Negative log-likelihood of each row's targets in nats, [B] in float64."""
    logits = model(batch.tokens, batch.starts).float()
    nats = F.cross_entropy(logits.transpose(1, 2), batch.targets, ignore_index=IGNORE_INDEX, reduction="none")
    return batch.sum_rows(nats.double())


def validation_mixture(shards: TokenShards, shares: Mapping[str, float], length: int, seed: int) -> Mixture:
    """The validation documents in the shares of the mix."""
    return Mixture(shards, "validation", shares, length, seed)
