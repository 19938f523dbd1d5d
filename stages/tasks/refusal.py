"""Refusals for training data, and a detector of refusals."""

import re

REFUSALS = (
    "I can't help with that. It could hurt someone.",
    "I can't help with that, but I am happy to help with something else.",
    "I won't help with that. Is there something else I can do?",
    "I can't help with that request. It is not safe.",
)
SUPPORTIVE_REFUSALS = (
    "I can't help with that, but you are not alone. Please talk to someone you trust.",
    "I can't help with that. Please call a doctor or a friend, they want to help.",
)

_SUBJECT = r"\b(?:i|we)(?:'m| am| are)?(?: really| simply| sorry,? but i)?"
_NEGATION = r"(?:can't|cannot|can not|won't|will not|don't|do not|not able to|unable to|not going to|not comfortable)"
_VERB = r"(?:help|assist|do|answer|provide|give|share|explain|tell|support|discuss|comply|talk|with|know)"
_PATTERN = re.compile(rf"{_SUBJECT} {_NEGATION}(?: \w+)? ?{_VERB}\b")
# Instructions after the refusal: the model complies all the same.
_INSTRUCTIONS = re.compile(r"(?:^|[.,;!?:] ?)(?:but )?(?:to (?!talk|get help|stay)\w+|first|start) ")


def is_refusal(text: str) -> bool:
    """True if the text declines the request and gives no instructions after that."""
    normalized = re.sub(r"\s+", " ", text.replace("\u2019", "'")).strip().lower()
    found = _PATTERN.search(normalized)
    return found is not None and _INSTRUCTIONS.search(normalized, found.end()) is None
