"""Data pruning (4.2.3): quality, difficulty, and semantic deduplication within a topic."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from stages.interface import Section
from stages.model.llama import Llama
from stages.posttraining.data import Demonstration
from stages.posttraining.sequences import pad, row
from stages.tokenizer.chat import ChatFormat


class Pruning(Section):
    """What is kept of the sampled answers."""

    quality_quantile: float = Field(ge=0, lt=1)
    """Answers whose reward is below this quantile of their topic go (paper 4.2.3: the top quartile counts as high
    quality; assumption at small scales, where a quarter would be too few)."""
    similarity: float = Field(gt=0, le=1)
    """Cosine similarity to a kept answer above which one is a semantic duplicate (assumption; paper gives none)."""


def prune(
    demonstrations: Sequence[Demonstration],
    rewards: Sequence[float],
    difficulty: Sequence[float],
    embeddings: np.ndarray,
    settings: Pruning,
) -> tuple[list[int], dict[str, int]]:
    """Indices of what is kept, in order, and how many went for which reason.

    `difficulty` is the share of a prompt's samples that were wrong, `embeddings` [N, d] have length 1. In each topic
    the best and hardest come first, and one is kept if no kept one is too similar.
    """
    topics: dict[str, list[int]] = defaultdict(list)
    for index, demonstration in enumerate(demonstrations):
        topics[demonstration.example.task].append(index)
    kept: list[int] = []
    removed = {"low reward": 0, "similar to a kept one": 0}
    for topic in sorted(topics):
        members = topics[topic]
        values = np.array([rewards[index] for index in members])
        bar = np.quantile(values, settings.quality_quantile)
        rank = values.argsort(kind="stable").argsort() / max(1, len(values) - 1)
        worth = rank * (1 + np.array([difficulty[index] for index in members]))
        order = np.argsort(-worth, kind="stable")
        chosen: list[int] = []
        for place in order:
            index = members[place]
            if values[place] < bar:
                removed["low reward"] += 1
            elif chosen and float((embeddings[chosen] @ embeddings[index]).max()) > settings.similarity:
                removed["similar to a kept one"] += 1
            else:
                chosen.append(index)
        kept += chosen
    return sorted(kept), removed


@torch.inference_mode()
def embed(model: Llama, chat: ChatFormat, demonstrations: Sequence[Demonstration], size: int = 128) -> np.ndarray:
    """Each dialog as the mean of the model's last hidden states, centred, of length 1: [N, d] (paper: RoBERTa)."""
    if not demonstrations:
        return np.zeros((0, model.config.hidden_size), dtype=np.float32)
    model.eval()
    pieces: list[Tensor] = []
    for first in range(0, len(demonstrations), size):
        part = demonstrations[first : first + size]
        batch = pad([row(chat, d.example.prompt, d.response) for d in part], chat.pad)
        hidden = model.model(batch.tokens, None)
        inside = batch.ends.flip(1).cumsum(1).flip(1) > 0
        pieces.append((hidden * inside[..., None]).sum(1) / inside.sum(1, keepdim=True))
    vectors = torch.cat(pieces)
    vectors = vectors - vectors.mean(0)
    unit: np.ndarray = (vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy()
    return unit
