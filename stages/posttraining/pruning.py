"""Data pruning (4.2.3): by quality, difficulty and semantic deduplication within a topic."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from stages.interface import Section
from stages.model.llama import Llama
from stages.posttraining.data import Demonstration
from stages.posttraining.sequences import INFERENCE_BATCH, pad_in_batches, tokenize_dialog
from stages.tokenizer.chat import ChatFormat


class Pruning(Section):
    """Which of the sampled responses are kept."""

    quality_quantile: float = Field(ge=0, lt=1)
    """Responses with a reward below this quantile of their topic are removed (paper 4.2.3: the top quartile counts as
    high quality; assumption at small scales, where a quarter would be too few)."""
    similarity: float = Field(gt=0, le=1)
    """Cosine similarity to a kept response above which one is a semantic duplicate (assumption; paper gives none)."""


def prune(
    demonstrations: Sequence[Demonstration],
    rewards: Sequence[float],
    difficulty: Sequence[float],
    embeddings: np.ndarray,
    settings: Pruning,
) -> tuple[list[int], dict[str, int]]:
    """Returns the indices of the kept demonstrations, ascending, and the number removed for each reason.

    `difficulty` is the share of a prompt's samples that were wrong; `embeddings` [N, d] have length 1. In each topic
    the best and hardest come first, and one is kept if no kept one is too similar.
    """
    topics: dict[str, list[int]] = defaultdict(list)
    for index, demonstration in enumerate(demonstrations):
        topics[demonstration.example.task].append(index)
    kept: list[int] = []
    removed = {"low reward": 0, "semantic duplicate": 0}
    for topic in sorted(topics):
        in_topic = topics[topic]
        quality = np.array([rewards[index] for index in in_topic])
        threshold = np.quantile(quality, settings.quality_quantile)
        quality_rank = quality.argsort(kind="stable").argsort() / max(1, len(quality) - 1)
        priority = quality_rank * (1 + np.array([difficulty[index] for index in in_topic]))
        kept_in_topic: list[int] = []
        for position in np.argsort(-priority, kind="stable"):
            index = in_topic[position]
            if quality[position] < threshold:
                removed["low reward"] += 1
            elif kept_in_topic and float((embeddings[kept_in_topic] @ embeddings[index]).max()) > settings.similarity:
                removed["semantic duplicate"] += 1
            else:
                kept_in_topic.append(index)
        kept += kept_in_topic
    return sorted(kept), removed


@torch.inference_mode()
def embed(
    model: Llama, chat: ChatFormat, demonstrations: Sequence[Demonstration], batch_size: int = INFERENCE_BATCH
) -> np.ndarray:
    """The mean of the model's last hidden states over each dialog, centred, of length 1: [N, d] (paper: RoBERTa)."""
    if not demonstrations:
        return np.zeros((0, model.config.hidden_size), dtype=np.float32)
    model.eval()
    means: list[Tensor] = []
    dialogs = [tokenize_dialog(chat, d.example.prompt, d.response) for d in demonstrations]
    for batch in pad_in_batches(dialogs, chat.pad, batch_size):
        hidden = model.model(batch.tokens, None)
        is_token = batch.is_last.flip(1).cumsum(1).flip(1) > 0  # padding comes after the last token
        means.append((hidden * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True))
    vectors = torch.cat(means)
    vectors = vectors - vectors.mean(0)
    embeddings: np.ndarray = (vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy()
    return embeddings
