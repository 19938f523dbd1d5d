"""Prompts and responses as padded batches: what SFT, DPO and the reward model are trained on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from stages.interface import StageError
from stages.posttraining.averaging import Tuning
from stages.tokenizer.chat import ChatFormat, make_messages
from stages.training.loader import IGNORE_INDEX, TokenRows, batch_tensors, split_micro_batches
from stages.training.parameters import Training
from stages.training.permutation import hash64, permute
from stages.training.sample import LabeledSequence, Sample

INFERENCE_BATCH = 128
"""Dialogs per batch when nothing is trained."""

TokenizedDialog = tuple[list[int], list[int]]
"""(tokens, targets), equally long: the target at a position is the token at the next one, or IGNORE_INDEX."""


@dataclass
class DialogBatch(TokenRows):
    """Right-padded dialogs. Padding needs no mask: attention is causal and the padding comes last."""

    is_last: Tensor
    """Whether a token is the last one of its dialog, [B, T]."""


@dataclass
class PairBatch(DialogBatch):
    """Pairs of dialogs with the same prompt: the chosen response in row 2i, the rejected one in row 2i + 1."""

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.tokens) // 2

    @property
    def weight(self) -> float:
        return float(self.count)


B = TypeVar("B", bound=TokenRows)


@dataclass(frozen=True)
class MicroBatcher:
    """Takes a rank's part of each batch, in micro-batches of about `micro_tokens` tokens (`split_micro_batches`)."""

    micro_tokens: int
    rank: int = 0
    world: int = 1

    def for_rank(self, rank: int, world: int, pieces: int) -> "MicroBatcher":
        return MicroBatcher(self.micro_tokens * pieces, rank, world)

    def __call__(self, batch: B) -> list[B]:
        """Micro-batches of equally long rows, so that a pipeline takes them; StageError if a rank would have none."""
        rows_per_item = len(batch.tokens) // batch.count
        max_items = max(1, self.micro_tokens // (rows_per_item * batch.tokens.shape[1]))
        items = {name: tensor.unflatten(0, (-1, rows_per_item)) for name, tensor in batch_tensors(batch).items()}
        return [
            replace(batch, **{name: tensor[list(indices)].flatten(0, 1) for name, tensor in items.items()})
            for indices in split_micro_batches(batch.count, max_items, self.rank, self.world)
        ]


def tokenize_dialog(chat: ChatFormat, prompt: str, response: str, formatting: bool = True) -> TokenizedDialog:
    """Tokens and targets of one dialog; the targets leave out the prompt (4.1.3).

    `formatting=False` leaves out the termination token too, as DPO does (4.1.4).
    """
    prompt_tokens, response_tokens = chat.encode_prompt(make_messages(prompt)), chat.encode_response(response)
    targets = [IGNORE_INDEX] * (len(prompt_tokens) - 1) + response_tokens + [IGNORE_INDEX]
    if not formatting:
        targets[-2] = IGNORE_INDEX
    return prompt_tokens + response_tokens, targets


def pad(dialogs: Sequence[TokenizedDialog], pad_token: int) -> DialogBatch:
    """One batch of dialogs, padded on the right to the longest of them."""
    shape = len(dialogs), max(len(tokens) for tokens, _ in dialogs)
    padded_tokens = torch.full(shape, pad_token, dtype=torch.long)
    padded_targets = torch.full(shape, IGNORE_INDEX, dtype=torch.long)
    is_last = torch.zeros(shape, dtype=torch.bool)
    for index, (tokens, targets) in enumerate(dialogs):
        padded_tokens[index, : len(tokens)] = torch.tensor(tokens)
        padded_targets[index, : len(targets)] = torch.tensor(targets)
        is_last[index, len(tokens) - 1] = True
    return DialogBatch(padded_tokens, padded_targets, is_last)


def pad_in_batches(dialogs: Sequence[TokenizedDialog], pad_token: int, size: int) -> Iterator[DialogBatch]:
    """The dialogs in batches of `size`, in order."""
    return (pad(dialogs[first : first + size], pad_token) for first in range(0, len(dialogs), size))


@dataclass(frozen=True)
class BatchSampler:
    """Which items form the batch of a step: all in a new order each epoch, a function of the seed and the step only."""

    num_items: int
    batch_size: int
    seed: int
    content_hash: str
    """Of the items, so that a checkpoint made on other data is refused."""

    def __post_init__(self) -> None:
        if not self.num_items:
            raise StageError("there is nothing to train on: no dialog or pair is left")

    @property
    def fingerprint(self) -> str:
        return f"{self.content_hash}/{self.num_items}/{self.batch_size}/{self.seed}"

    def indices(self, step: int) -> list[int]:
        """The items of a step, in order."""
        indices = []
        for draw in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, index = divmod(draw, self.num_items)
            indices.append(permute(index, self.num_items, hash64(self.seed ^ hash64(epoch))))
        return indices


@dataclass(frozen=True)
class ShuffledBatches:
    """Batches of dialogs or of pairs, in another order each epoch."""

    chat: ChatFormat
    sampler: BatchSampler
    micro_batcher: MicroBatcher
    items: Sequence[Any]
    few_shapes: ClassVar[bool] = False
    item_name: ClassVar[str] = "pair"
    roles: ClassVar[tuple[str, ...]]
    """What each dialog of an item is."""

    @classmethod
    def for_variants(
        cls, chat: ChatFormat, items: Sequence[Any], tuning: Tuning, training: Training, seed: int, **fields: Any
    ) -> list[Self]:
        """The batches of each variant: the same items, in another order for each."""
        content_hash, micro_batcher = hash_content(items), MicroBatcher(training.micro_tokens)
        seeds = range(seed, seed + len(tuning.rates))
        samplers = [BatchSampler(len(items), tuning.batch, seed, content_hash) for seed in seeds]
        return [cls(chat, sampler, micro_batcher, items, **fields) for sampler in samplers]

    @property
    def fingerprint(self) -> str:
        return self.sampler.fingerprint

    def for_rank(self, rank: int, world: int, pieces: int = 1) -> Self:
        return replace(self, micro_batcher=self.micro_batcher.for_rank(rank, world, pieces))

    def tokenize(self, index: int) -> Sequence[TokenizedDialog]:
        """The dialogs of an item, one for each role."""
        raise NotImplementedError

    def pad_step(self, step: int) -> DialogBatch:
        """The dialogs of a step, item by item."""
        return pad([dialog for index in self.sampler.indices(step) for dialog in self.tokenize(index)], self.chat.pad)

    def samples(self, step: int) -> Iterator[Sample]:
        """The items of a step, with the tokens that count in the loss."""
        for index in self.sampler.indices(step):
            sequences = dict(zip(self.roles, map(self.label, self.tokenize(index)), strict=True))
            yield Sample(f"{self.item_name} {index} of {len(self.items)}", sequences)

    def label(self, dialog: TokenizedDialog) -> LabeledSequence:
        return LabeledSequence.from_targets(*dialog, IGNORE_INDEX)


def hash_content(items: Sequence[object]) -> str:
    """A hash of the items' text."""
    return hashlib.sha256("\n".join(map(repr, items)).encode()).hexdigest()
