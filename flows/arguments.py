"""Types of command-line arguments, for argparse's `type=`."""

import argparse
import math
from collections.abc import Callable


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """An integer of at least `least` and at most `most`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            upto = "" if most is None else f" and at most {most}"
            raise argparse.ArgumentTypeError(f"{text}: must be at least {least}{upto}")
        return value

    return number


def between(low: float, high: float, *others: float) -> Callable[[str], float]:
    """A number from `low` to `high`, or one of `others`."""

    def number(text: str) -> float:
        value = float(text)
        if not (low <= value <= high or value in others) or math.isnan(value):
            also = "".join(f"{other:g}, or " for other in others)
            raise argparse.ArgumentTypeError(f"{text}: must be {also}from {low:g} to {high:g}")
        return value

    return number


def name_value(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    return name, value


def not_empty(text: str) -> str:
    """Text with more in it than white space."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the text is empty")
    return text
