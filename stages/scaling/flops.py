"""What counts as a training FLOP. Stated here once, used everywhere."""

FLOPS = 6.0
"""Operations per parameter and token: a multiplication and an addition forwards, twice that backwards."""


def training_flops(parameters: float, tokens: float) -> float:
    """6 N D, where N counts all parameters, embedding and head included (once where they are tied), and attention
    scores count nothing.

    It is the convention under which the paper's numbers agree: 6 x 405.85e9 x 15.6e12 = 3.80e25 (1, 3.2).
    """
    return FLOPS * parameters * tokens


def tokens_for(flops: float, parameters: float) -> float:
    """The tokens a model of so many parameters is trained on for a budget of `flops`."""
    return flops / (FLOPS * parameters)


def parameters_for(flops: float, tokens: float) -> float:
    """The size of the model that a budget of `flops` trains on so many tokens."""
    return flops / (FLOPS * tokens)
