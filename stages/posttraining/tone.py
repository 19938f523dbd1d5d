"""Tone cleaning (4.2.3): removes emojis and exclamation marks and limits the share of apologies."""

import re
from collections.abc import Sequence
from dataclasses import replace

from stages.posttraining.data import Demonstration

_PICTOGRAPH = "[\U0001f300-\U0001faff\U00002600-\U000027bf\U00002b50\U0001f1e6-\U0001f1ff\ufe0f]+"
EMOJI = re.compile(f" ?{_PICTOGRAPH}(?:\u200d{_PICTOGRAPH})*")
OPENER = re.compile(r"^(?:great|good|excellent) question[!.]\s*", re.IGNORECASE)
APOLOGY = re.compile(r"^(?:I'm (?:so |very )?sorry|I apologi[sz]e)[^.!]*[.!]\s*", re.IGNORECASE)
EXCLAMATION = re.compile(r"([^!]?)!+(?![=!])")


def measure(demonstrations: Sequence[Demonstration]) -> dict[str, float]:
    """Share of the responses with an emoji, an exclamation mark, an apology at the start. Code is left out."""
    texts = [d.response for d in demonstrations if d.example.task != "code"]
    patterns = {"emoji": EMOJI, "exclamation": EXCLAMATION, "apology": APOLOGY}
    return {name: sum(bool(p.search(text)) for text in texts) / max(1, len(texts)) for name, p in patterns.items()}


def clean(demonstrations: Sequence[Demonstration], apologies: float) -> list[Demonstration]:
    """Removes emojis and exclamation marks, and all apologies beyond the share `apologies` of the demonstrations.

    The first apologies stay; the others lose that sentence. A response of which nothing is left is dropped.
    """
    apologies_left = int(apologies * len(demonstrations))
    cleaned = []
    for demonstration in demonstrations:
        if demonstration.example.task == "code":
            cleaned.append(demonstration)
            continue
        text = OPENER.sub("", EMOJI.sub("", demonstration.response)).strip()
        if APOLOGY.search(text):
            if apologies_left > 0:
                apologies_left -= 1
            else:
                text = APOLOGY.sub("", text)
        text = _remove_exclamations(text).strip()
        if text:
            cleaned.append(replace(demonstration, response=text))
    return cleaned


def _remove_exclamations(text: str) -> str:
    """Turns exclamation marks at the end of a sentence into full stops and removes others. A word is no sentence."""
    is_sentence = len(text.split()) > 1

    def replace_mark(match: re.Match[str]) -> str:
        before = match[1]
        return f"{before}." if is_sentence and (before.isalnum() or before == ")") else before

    return EXCLAMATION.sub(replace_mark, text)
