"""Tone cleaning (4.2.3): emojis and exclamation marks go; apologies are balanced, not banished."""

import re
from collections.abc import Sequence
from dataclasses import replace

from stages.posttraining.data import Demonstration

_PICTURE = "[\U0001f300-\U0001faff\U00002600-\U000027bf\U00002b50\U0001f1e6-\U0001f1ff\ufe0f]+"
EMOJI = re.compile(f" ?{_PICTURE}(?:\u200d{_PICTURE})*")
OPENER = re.compile(r"^(?:great|good|excellent) question[!.]\s*", re.IGNORECASE)
APOLOGY = re.compile(r"^(?:I'm (?:so |very )?sorry|I apologi[sz]e)[^.!]*[.!]\s*", re.IGNORECASE)
EXCLAMATION = re.compile(r"([^!]?)!+(?![=!])")


def rates(demonstrations: Sequence[Demonstration]) -> dict[str, float]:
    """Share of the responses with an emoji, an exclamation mark, an apology at the start. Code does not count."""
    texts = [d.response for d in demonstrations if d.example.task != "code"]
    patterns = {"emoji": EMOJI, "exclamation": EXCLAMATION, "apology": APOLOGY}
    return {name: sum(bool(p.search(text)) for text in texts) / max(1, len(texts)) for name, p in patterns.items()}


def clean(demonstrations: Sequence[Demonstration], apologies: float) -> list[Demonstration]:
    """The demonstrations without emojis and exclamation marks, and with at most the share `apologies` of apologies.

    The first apologies stay, the rest lose that sentence. A response of which nothing is left is dropped.
    """
    allowed = int(apologies * len(demonstrations))
    cleaned = []
    for demonstration in demonstrations:
        if demonstration.example.task == "code":
            cleaned.append(demonstration)
            continue
        text = OPENER.sub("", EMOJI.sub("", demonstration.response)).strip()
        if APOLOGY.search(text):
            if allowed > 0:
                allowed -= 1
            else:
                text = APOLOGY.sub("", text)
        text = _calm(text).strip()
        if text:
            cleaned.append(replace(demonstration, response=text))
    return cleaned


def _calm(text: str) -> str:
    """Exclamation marks become full stops where a sentence would lack its end, else they go. A word is no sentence."""
    sentence = len(text.split()) > 1

    def calm(found: re.Match[str]) -> str:
        return found[1] + "." if sentence and (found[1].isalnum() or found[1] == ")") else found[1]

    return EXCLAMATION.sub(calm, text)
