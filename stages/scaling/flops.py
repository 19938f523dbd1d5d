"""What counts as a training FLOP. Stated here once, used everywhere."""


def training_flops(parameters: int, tokens: float) -> float:
    """6 N D, where N counts all parameters, embedding and head included, and attention scores count nothing.

    It is the convention under which the paper's numbers agree: 6 x 405.85e9 x 15.6e12 = 3.80e25 (1, 3.2).
    """
    return 6.0 * parameters * tokens


def tokens_for(flops: float, parameters: int) -> float:
    """The tokens a model of so many parameters is trained on for a budget of `flops`."""
    return flops / (6.0 * parameters)
