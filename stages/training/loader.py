"""Token shards and the data mixture drawn from them.

Sample k is a function of the seed, the mixture and k only, not of batch size, number of ranks or restarts. So a run can
resume at any sample, and any step can be inspected afterwards.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stages.interface import StageError
from stages.model.llama import document_starts
from stages.training.permutation import hash64, permute

Split = Literal["train", "anneal", "validation"]
IGNORE_INDEX = -100
"""Target that the loss ignores (torch's default)."""


class TokenShards:
    """The token files of a directory: for each split and bucket one memory-mapped sequence of documents."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.index = json.loads((directory / "tokens.json").read_text())
        self.begin_of_text: int = self.index["begin_of_text"]
        self.vocab_size: int = self.index["vocab_size"]

    def tokens(self, split: Split, bucket: str) -> np.ndarray:
        """All tokens of a bucket, [N], read-only."""
        path = self.directory / f"{split}-{bucket}.bin"
        size, expected = path.stat().st_size if path.exists() else 0, self.counts(split).get(bucket, 0)
        if size != expected * np.dtype(self.index["dtype"]).itemsize:
            raise StageError(
                f"{path}: {size:,} bytes are not the {expected:,} tokens that tokens.json counts; run "
                "`dvc checkout`, or `dvc repro --force --single-item encode` if that does not restore them"
            )
        if not expected:
            raise StageError(f"{path}: no tokens; the corpus has no documents of this bucket")
        return np.memmap(path, dtype=self.index["dtype"], mode="r")

    def counts(self, split: Split) -> dict[str, int]:
        """Tokens in each bucket."""
        counts: dict[str, int] = self.index["counts"][split]
        return counts

    @property
    def fingerprint(self) -> str:
        """Changes with the tokens: the index contains their digests."""
        return hashlib.sha256(json.dumps(self.index, sort_keys=True).encode()).hexdigest()


def _sum_rows(values: Tensor) -> Tensor:
    """The sum of each row of values [B, T], [B]."""
    return values.sum(1)


@dataclass
class TokenRows:
    """Inputs and targets, [B, T] each."""

    tokens: Tensor
    targets: Tensor
    sum_rows: Callable[[Tensor], Tensor] = field(default=_sum_rows, kw_only=True)
    """Sums values [B, T] over each row, [B]; reduced over ranks that hold pieces of the same rows."""

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.tokens)

    @property
    def weight(self) -> float:
        """Number of targets that the loss counts."""
        return float((self.targets != IGNORE_INDEX).sum())


def batch_tensors(batch: Any) -> dict[str, Tensor]:
    """The tensors of a batch by field name; their first dimension is the batch's rows."""
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}


def split_micro_batches(count: int, max_size: int, rank: int = 0, world: int = 1) -> list[range]:
    """The items of a step's `count` that one of `world` data-parallel ranks trains on, in micro-batches of `max_size`.

    Rank r takes the items r, r + world, ... All ranks have the same number of micro-batches, so that none waits for
    another's reduction; StageError if some would have none. If the ranks' shares differ by one, a micro-batch may have
    `max_size` + 1 items.
    """
    if count < world:
        raise StageError(
            f"layout: {count} rows or pairs a step leave some of dp {world} idle; lower dp (a stage may have its own "
            "layout in cluster.layouts), or raise the stage's batch"
        )
    local = range(rank, count, world)
    number = min(math.ceil(math.ceil(count / world) / max_size), count // world)
    ends = [len(local) * index // number for index in range(number + 1)]
    return [local[first:last] for first, last in itertools.pairwise(ends)]


@dataclass
class TokenBatch(TokenRows):
    """Packed documents, and the position at which each token's document begins, [B, T]; None: each row is one."""

    starts: Tensor | None


class Mixture:
    """Windows of `length` tokens from buckets in exact shares (3.1.2), each bucket in its own shuffled order.

    Each bucket supplies its share of every `cycle` samples, to the nearest sample. A bucket that is exhausted starts
    its next epoch in a new order; `epochs` counts them.
    """

    CYCLE = 1000

    def __init__(
        self,
        shards: TokenShards,
        split: Split,
        shares: Mapping[str, float],
        length: int,
        seed: int,
        mask: bool = True,
        cycle: int = CYCLE,
    ) -> None:
        self.shards, self.split, self.length, self.seed, self.mask = shards, split, length, seed, mask
        self.cycle = cycle
        self.buckets = sorted(bucket for bucket, share in shares.items() if share > 0)
        self.data = {bucket: shards.tokens(split, bucket) for bucket in self.buckets}
        self.windows = {bucket: (len(data) - 1) // length for bucket, data in self.data.items()}
        for bucket, count in self.windows.items():
            if count < 1:
                raise StageError(f"{shards.directory}: bucket {bucket} has fewer than {length} tokens for one window")
        quota = _apportion({bucket: shares[bucket] for bucket in self.buckets}, self.cycle)
        order = [bucket for bucket in self.buckets for _ in range(quota[bucket])]
        self._order = [order[permute(position, self.cycle, hash64(seed))] for position in range(self.cycle)]
        self._rank = [self._order[:position].count(bucket) for position, bucket in enumerate(self._order)]
        self._quota = quota

    @property
    def fingerprint(self) -> str:
        """Changes if any sample changes."""
        parts = [self.shards.fingerprint, self.split, self._quota, self.length, self.seed, self.mask]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def locate(self, sample: int) -> tuple[str, int]:
        """(bucket, window) of sample number `sample`."""
        cycle, position = divmod(sample, self.cycle)
        bucket = self._order[position]
        draw = cycle * self._quota[bucket] + self._rank[position]
        epoch, index = divmod(draw, self.windows[bucket])
        key = hash64(self.seed ^ hash64(epoch ^ hash64(self.buckets.index(bucket))))
        return bucket, permute(index, self.windows[bucket], key)

    def window(self, sample: int) -> np.ndarray:
        """The length + 1 tokens of a sample, int64."""
        bucket, window = self.locate(sample)
        first = window * self.length
        return self.data[bucket][first : first + self.length + 1].astype(np.int64)

    def batch(self, first: int, size: int) -> TokenBatch:
        """Samples first .. first + size - 1."""
        return self.gather(range(first, first + size))

    def gather(self, samples: Sequence[int]) -> TokenBatch:
        """These samples, in this order."""
        rows = torch.from_numpy(np.stack([self.window(sample) for sample in samples]))
        return make_batch(rows, self.shards.begin_of_text, self.mask)

    def count_distinct(self, samples: int) -> int:
        """How many of the first `samples` samples precede the first repetition of a window."""
        remaining = dict(self.windows)
        for sample in range(samples):
            bucket = self._order[sample % self.cycle]
            if not remaining[bucket]:
                return sample
            remaining[bucket] -= 1
        return samples

    def tokens_drawn(self, samples: int) -> dict[str, int]:
        """Tokens from each bucket in the first `samples` samples."""
        cycles, rest = divmod(samples, self.cycle)
        tail = self._order[:rest]
        return {b: (cycles * self._quota[b] + tail.count(b)) * self.length for b in self.buckets}

    def epochs(self, samples: int) -> dict[str, float]:
        """Epochs over each bucket in `samples` samples: above 1 it is up-sampled."""
        drawn = self.tokens_drawn(samples)
        return {bucket: drawn[bucket] / (self.windows[bucket] * self.length) for bucket in self.buckets}


def make_batch(rows: Tensor, begin_of_text: int, mask: bool = True) -> TokenBatch:
    """Rows [B, T + 1] of packed documents as inputs and targets: no target is in the next document."""
    tokens, targets = rows[:, :-1], rows[:, 1:].clone()
    targets[targets == begin_of_text] = IGNORE_INDEX
    return TokenBatch(tokens, targets, document_starts(tokens, begin_of_text) if mask else None)


def _apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Integers in the proportion of `shares` that sum to `total` (largest remainder method)."""
    scale = total / sum(shares.values())
    quota = {bucket: int(share * scale) for bucket, share in shares.items()}
    by_remainder = sorted(shares, key=lambda bucket: (quota[bucket] - shares[bucket] * scale, bucket))
    for bucket in by_remainder[: total - sum(quota.values())]:
        quota[bucket] += 1
    return quota
