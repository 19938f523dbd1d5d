"""A mixture-of-experts Llama: the alternative the paper decided against, for the sake of stable training (1, 3.2).

The feed-forward layer of each block is replaced by E experts, of which a router picks the two likeliest for each token
and weighs them by their renormalised probabilities; all else is the dense model's.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.model.llama import MLP, Llama, LlamaConfig

TOP = 2
"""Experts that see a token."""


@dataclass(frozen=True)
class MoEConfig:
    """A dense shape whose feed-forward layers become experts of `expert_size`."""

    dense: LlamaConfig
    experts: int
    expert_size: int

    def __post_init__(self) -> None:
        if self.experts < TOP:
            raise ValueError(f"{TOP} experts see each token, there are {self.experts}: {self}")

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self._with(self.experts)

    @property
    def active_parameters(self) -> int:
        """Parameters that a token meets: what counts in its training FLOPs."""
        return self._with(TOP)

    def _with(self, experts: int) -> int:
        d, layers = self.dense.hidden_size, self.dense.num_hidden_layers
        ffn = 3 * d * (experts * self.expert_size - self.dense.intermediate_size)
        return self.dense.parameters + layers * (ffn + d * self.experts)


class MixtureOfExperts(nn.Module):
    """Top-2 routing without dropped tokens. After a forward pass `balance` and `load` tell how it went."""

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.router = nn.Linear(config.dense.hidden_size, config.experts, bias=False)
        size = replace(config.dense, intermediate_size=config.expert_size)
        self.experts = nn.ModuleList(MLP(size) for _ in range(config.experts))
        self.balance = torch.zeros(())
        """The load-balancing loss of the last pass, without its weight: 1 where all experts get the same share."""
        self.load = torch.zeros(config.experts)
        """Share of the tokens' choices that each expert got in the last pass, [E]."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        tokens = x.flatten(0, -2)  # [N, d]
        probabilities = self.router(tokens).float().softmax(-1)  # [N, E]
        weights, chosen = probabilities.topk(TOP, dim=-1)  # [N, 2]
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        self.load = F.one_hot(chosen, len(self.experts)).sum(1).float().mean(0) / TOP
        self.balance = len(self.experts) * (self.load * probabilities.mean(0)).sum()
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            row, place = torch.where(chosen == number)
            if len(row):
                out = out.index_add(0, row, expert(tokens[row]) * weights[row, place, None])
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
