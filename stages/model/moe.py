"""A mixture-of-experts Llama: the alternative that the paper rejected in favour of stable training (1, 3.2).

E experts replace the feed-forward layer of each block. A router selects the two most probable experts for each token
and weighs their outputs by renormalised probabilities; everything else is as in the dense model.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.model.llama import MLP, Llama, LlamaConfig

TOP_K = 2
"""Experts per token."""


@dataclass(frozen=True)
class MoEConfig:
    """A dense configuration whose feed-forward layers are replaced by experts of width `expert_size`."""

    dense: LlamaConfig
    experts: int
    expert_size: int

    def __post_init__(self) -> None:
        if self.experts < TOP_K:
            raise ValueError(f"{TOP_K} experts per token need as many, there are {self.experts}: {self}")

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self._count_parameters(self.experts)

    @property
    def active_parameters(self) -> int:
        """Parameters that process a token; its training FLOPs follow from them."""
        return self._count_parameters(TOP_K)

    def _count_parameters(self, experts: int) -> int:
        d, layers = self.dense.hidden_size, self.dense.num_hidden_layers
        ffn = 3 * d * (experts * self.expert_size - self.dense.intermediate_size)
        return self.dense.parameters + layers * (ffn + d * self.experts)


class MixtureOfExperts(nn.Module):
    """Top-2 routing without dropped tokens. Each forward pass sets `balance` and `load`."""

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.router = nn.Linear(config.dense.hidden_size, config.experts, bias=False)
        size = replace(config.dense, intermediate_size=config.expert_size)
        self.experts = nn.ModuleList(MLP(size) for _ in range(config.experts))
        self.balance = torch.zeros(())
        """The load-balancing loss of the last pass, without its weight: 1 if all experts have the same load."""
        self.load = torch.zeros(config.experts)
        """Share of the token-expert assignments of each expert in the last pass, [E]."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        tokens = x.flatten(0, -2)  # [N, d]
        probabilities = self.router(tokens).float().softmax(-1)  # [N, E]
        weights, chosen = probabilities.topk(TOP_K, dim=-1)  # [N, 2]
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        self.load = F.one_hot(chosen, len(self.experts)).sum(1).float().mean(0) / TOP_K
        self.balance = len(self.experts) * (self.load * probabilities.mean(0)).sum()
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == number)
            if len(token):
                out = out.index_add(0, token, expert(tokens[token]) * weights[token, slot, None])
        return out.view_as(x)


class MoELlama(Llama):
    """The Llama of `config.dense` with experts in each block."""

    def __init__(self, config: MoEConfig) -> None:
        super().__init__(config.dense)
        self.experts_config = config
        for layer in self.model.layers:
            layer.mlp = MixtureOfExperts(config)

    @property
    def moe_layers(self) -> list[MixtureOfExperts]:
        """The experts of each layer."""
        return [layer.mlp for layer in self.model.layers]  # type: ignore[misc]
