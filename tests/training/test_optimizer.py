"""AdamW against torch's."""

import torch

from stages.model.files import load_model
from stages.training.parameters import make_optimizer
from tests.fixtures import World, settings


def test_the_optimizer_matches_torch_adamw_without_decay_of_norms(world: World) -> None:
    ours, theirs = load_model(world.model), load_model(world.model)
    optimizer = make_optimizer(ours, settings())
    matrices = [p for p in theirs.parameters() if p.dim() > 1]
    norms = [p for p in theirs.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    kept = settings()
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(kept.beta1, kept.beta2), eps=kept.eps, fused=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        optimizer.step(0.01)
        reference.step()
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))
