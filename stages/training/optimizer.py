"""AdamW (3.4.1) by torch's fused kernel, with its state keyed by parameter name.

The phases of pretraining are one training on different batches: each continues with the optimizer state of the previous
one.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim.adamw import adamw

OptimizerState = Mapping[str, Tensor]
"""AdamW's state of a full model: <parameter>/first and /second, of the parameter's shape, and /steps, a scalar."""
FILE = "optimizer.safetensors"


class AdamW:
    """Decoupled weight decay on matrices, none on norms (assumption; the paper does not say).

    torch.optim.AdamW does the same arithmetic, but constructing one imports torch's compiler: 2 s in every process.
    """

    def __init__(self, model: nn.Module, beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.first = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.steps = {name: torch.zeros((), device=p.device) for name, p in self.parameters.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update with the parameters' gradients."""
        for is_matrix in (True, False):
            names = [name for name, p in self.parameters.items() if (p.dim() > 1) == is_matrix and p.grad is not None]
            if not names:
                continue
            gradients = [self.parameters[name].grad for name in names]
            adamw(
                [self.parameters[name] for name in names],
                [gradient for gradient in gradients if gradient is not None],
                [self.first[name] for name in names],
                [self.second[name] for name in names],
                [],
                [self.steps[name] for name in names],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=lr,
                weight_decay=self.weight_decay if is_matrix else 0.0,
                eps=self.eps,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Sets the gradients to None."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on besides parameters and gradients."""
        kinds = {"first": self.first, "second": self.second, "steps": self.steps}
        return {f"{name}/{kind}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}

    def load(self, state: OptimizerState) -> None:
        """Copies `state` into the optimizer; raises KeyError if it is another model's."""
        for key, tensor in self.state().items():
            tensor.copy_(state[key])


def save_optimizer_state(state: OptimizerState, model: Path) -> None:
    """Writes the state to the model directory `model`. In a process group only the first rank writes."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, model / FILE)


def load_optimizer_state(model: Path) -> OptimizerState | None:
    """The optimizer state in a model directory; None if it has none, like a model from elsewhere."""
    path = model / FILE
    return load_file(path) if path.exists() else None
