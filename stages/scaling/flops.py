"""The convention for training FLOPs, used everywhere."""

FLOPS_PER_PARAMETER = 6.0
"""FLOPs per parameter and token: one multiplication and one addition forward, twice that backward."""


def training_flops(parameters: float, tokens: float) -> float:
    """6 N D, where N counts all parameters with embedding and head (once if they are tied), without attention scores.

    The paper's numbers agree under this convention: 6 x 405.85e9 x 15.6e12 = 3.80e25 (1, 3.2).
    """
    return FLOPS_PER_PARAMETER * parameters * tokens


def tokens_for(flops: float, parameters: float) -> float:
    """Training tokens of a model with `parameters` parameters for a budget of `flops`."""
    return flops / (FLOPS_PER_PARAMETER * parameters)


def parameters_for(flops: float, tokens: float) -> float:
    """Parameters of the model that a budget of `flops` trains on `tokens` tokens."""
    return flops / (FLOPS_PER_PARAMETER * tokens)
