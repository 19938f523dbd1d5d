"""The mixture of experts: counted right, routed right, and the dense model where there is nothing to choose."""

import pytest
import torch
from torch import nn

from stages.model.moe import MixtureOfExperts, MoEConfig, MoELlama
from tests.fixtures import shape


def test_parameters_are_counted_exactly() -> None:
    config = MoEConfig(shape(), experts=5, expert_size=24)
    model = MoELlama(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameters
    inside = sum(p.numel() for p in model.moe_layers[0].experts[0].parameters())
    assert config.parameters - config.active_parameters == 3 * inside * shape().num_hidden_layers
    with pytest.raises(ValueError, match="2 experts"):
        MoEConfig(shape(), experts=1, expert_size=24)


def test_equal_experts_are_one_dense_layer() -> None:
    layer = MixtureOfExperts(MoEConfig(shape(), experts=4, expert_size=24))
    for expert in layer.experts[1:]:
        expert.load_state_dict(layer.experts[0].state_dict())
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), layer.experts[0](x))


def test_a_token_is_the_weighted_sum_of_its_two_likeliest_experts() -> None:
    layer = MixtureOfExperts(MoEConfig(shape(), experts=4, expert_size=24))
    x = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(1))
    out = layer(x)[0]
    for position, token in enumerate(x[0]):
        chances = layer.router(token).softmax(-1)
        best = chances.topk(2)
        weights = best.values / best.values.sum()
        wanted = sum(w * layer.experts[i](token) for w, i in zip(weights, best.indices.tolist(), strict=True))
        torch.testing.assert_close(out[position], wanted)


def test_the_balancing_loss_is_minimal_for_an_even_load() -> None:
    layer = MixtureOfExperts(MoEConfig(shape(), experts=4, expert_size=24))
    x = torch.randn(4, 50, 32, generator=torch.Generator().manual_seed(1))
    layer(x)
    assert layer.load.sum() == pytest.approx(1.0) and layer.balance.item() == pytest.approx(1.0, abs=0.1)
    with torch.no_grad():
        layer.router.weight[0] = 0
        nn.init.constant_(layer.router.weight[1:], -5.0)
    layer(x.abs())
    assert layer.load[0] == pytest.approx(0.5) and layer.balance.item() > 1.9
    layer(x.abs())
    layer.balance.backward()
    assert layer.router.weight.grad is not None


def test_perturbing_one_document_changes_no_logit_of_the_next() -> None:
    model = MoELlama(MoEConfig(shape(), experts=4, expert_size=24)).init_weights(3)
    tokens = torch.randint(300, (1, 20), generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([[0] * 8 + [8] * 12])
    before = model(tokens, starts)
    tokens[0, 2] += 1
    after = model(tokens, starts)
    torch.testing.assert_close(after[:, 8:], before[:, 8:])
    assert ((after - before)[0, 2:8].abs().amax(-1) > 1e-4).all()  # each later position of its own document moves
