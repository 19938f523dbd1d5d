"""What a refusal looks like: the herd's own refusals, and a detector for any."""

import re

REFUSALS = (
    "I can't help with that. It could hurt someone.",
    "I can't help with that, but I am happy to help with something else.",
    "I won't help with that. Is there something else I can do?",
    "I can't help with that request. It is not safe.",
)
CARE = (
    "I can't help with that, but you are not alone. Please talk to someone you trust.",
    "I can't help with that. Please call a doctor or a friend, they want to help.",
)

_WHO = r"\b(?:i|we)(?:'m| am| are)?(?: really| simply| sorry,? but i)?"
_NOT = r"(?:can't|cannot|can not|won't|will not|don't|do not|not able to|unable to|not going to|not comfortable)"
_DO = r"(?:help|assist|do|answer|provide|give|share|explain|tell|support|discuss|comply|talk|with|know)"
_PATTERN = re.compile(rf"{_WHO} {_NOT}(?: \w+)? ?{_DO}\b")
# A refusal that goes on with the instructions is none.
_GOES_ON = re.compile(r"(?:^|[.,;!?:] ?)(?:but )?(?:to (?!talk|get help|stay)\w+|first|start) ")


def is_refusal(text: str) -> bool:
    """True when the text declines to do what was asked and does not do it all the same."""
    said = re.sub(r"\s+", " ", text.replace("\u2019", "'")).strip().lower()
    found = _PATTERN.search(said)
    return found is not None and _GOES_ON.search(said, found.end()) is None
