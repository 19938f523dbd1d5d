"""Prompts and responses as padded rows: what SFT, DPO and the reward model are trained on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from stages.interface import StageError
from stages.tokenizer.chat import ChatFormat, ask
from stages.training.loader import IGNORE, TokenRows, dealt, tensors_of
from stages.training.permutation import mix, permute
from stages.training.sample import Row


@dataclass
class Rows(TokenRows):
    """Right-padded dialogs, and which token is the last of its row, [B, T].

    Padding needs no mask: attention is causal and the padding comes last.
    """

    ends: Tensor


@dataclass
class PairRows(Rows):
    """Rows of pairs: the better response first, the worse one after it."""

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.tokens) // 2

    @property
    def weight(self) -> float:
        return float(self.count)


R = TypeVar("R", bound=TokenRows)


@dataclass(frozen=True)
class Share:
    """What a rank takes of each step's dialogs or pairs, in micro-batches of about `micro_tokens` tokens (`dealt`)."""

    micro_tokens: int
    rank: int = 0
    world: int = 1

    def of_rank(self, rank: int, world: int, pieces: int) -> "Share":
        return Share(self.micro_tokens * pieces, rank, world)

    def __call__(self, batch: R) -> list[R]:
        """Rows of one length, so that a pipeline takes them; StageError where some rank would have none."""
        unit = len(batch.tokens) // batch.count
        most = max(1, self.micro_tokens // (unit * batch.tokens.shape[1]))
        pairs = {name: tensor.unflatten(0, (-1, unit)) for name, tensor in tensors_of(batch).items()}
        return [
            replace(batch, **{name: tensor[list(places)].flatten(0, 1) for name, tensor in pairs.items()})
            for places in dealt(batch.count, most, self.rank, self.world)
        ]


def row(chat: ChatFormat, prompt: str, response: str, formatting: bool = True) -> tuple[list[int], list[int]]:
    """(tokens, targets) of one dialog: the prompt is no target (4.1.3).

    `formatting=False` also takes the termination token out of the targets, as DPO does (4.1.4).
    """
    asked, said = chat.prompt(ask(prompt)), chat.response(response)
    tokens = asked + said
    targets = [IGNORE] * (len(asked) - 1) + said + [IGNORE]
    if not formatting:
        targets[-2] = IGNORE
    return tokens, targets


def shown(tokens: Sequence[int], targets: Sequence[int]) -> Row:
    """A row of `row` as people look at it."""
    return Row.of(tokens, targets, IGNORE)


def pad(rows: Sequence[tuple[list[int], list[int]]], filler: int) -> Rows:
    """Rows of one batch."""
    length = max(len(tokens) for tokens, _ in rows)
    tokens = torch.full((len(rows), length), filler, dtype=torch.long)
    targets = torch.full((len(rows), length), IGNORE, dtype=torch.long)
    ends = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, (content, wanted) in enumerate(rows):
        tokens[number, : len(content)] = torch.tensor(content)
        targets[number, : len(wanted)] = torch.tensor(wanted)
        ends[number, len(content) - 1] = True
    return Rows(tokens, targets, ends)


@dataclass(frozen=True)
class Shuffled:
    """Which rows make up step k: all in a new order each epoch, a function of the seed and k only."""

    count: int
    size: int
    seed: int
    content: str
    """A digest of the data, so that state saved for other data is refused."""

    def __post_init__(self) -> None:
        if not self.count:
            raise StageError("there is nothing to train on: no dialog, or no pair, has been left")

    @property
    def fingerprint(self) -> str:
        return f"{self.content}/{self.count}/{self.size}/{self.seed}"

    def rows(self, step: int) -> list[int]:
        chosen = []
        for draw in range(step * self.size, (step + 1) * self.size):
            epoch, index = divmod(draw, self.count)
            chosen.append(permute(index, self.count, mix(self.seed ^ mix(epoch))))
        return chosen


@dataclass(frozen=True)
class ShuffledBatches:
    """What batches of dialogs and of pairs have in common."""

    chat: ChatFormat
    order: Shuffled
    share: Share

    @property
    def fingerprint(self) -> str:
        return self.order.fingerprint

    def of_rank(self, rank: int, world: int, pieces: int = 1) -> Self:
        return replace(self, share=self.share.of_rank(rank, world, pieces))


def content_digest(rows: Sequence[object]) -> str:
    """A digest of rows by their text."""
    return hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()
