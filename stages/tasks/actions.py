"""Finds an action, a verb with its object ("build a shelf"), in a text."""

import re

_ARTICLE = re.compile(r"^(?:a|an|the|my|your|some) ")
_IRREGULAR = {
    "beat": "beaten",
    "break": "broke|broken",
    "build": "built",
    "buy": "bought",
    "hide": "hid|hidden",
    "make": "made",
    "sell": "sold",
    "spy": "spied|spies",
    "steal": "stole|stolen",
    "write": "wrote|written",
}
_DETERMINERS = r"(?:(?:a|an|the|some|any|your|my|that|this|these|those|of) )*"
_NEGATION = re.compile(r"(?:\bnot|n't|\bnever|\bwithout|\bstop|\bavoid)(?: \w+)?(?: to)? $")


def head_noun(thing: str) -> str:
    """The object without article and prepositional phrase: "a process in Python" -> "process"."""
    return re.split(r" (?:in|for|at|with|on|into|of|about) ", _ARTICLE.sub("", thing))[0]


def mentions_verb(response: str, verb: str) -> bool:
    """True for any form of the verb: bake, baking, baked."""
    return re.search(rf"\b{_verb_forms(verb.split()[0])}\b", response.lower()) is not None


def find_action(text: str, verb: str, thing: str) -> re.Match[str] | None:
    """Where the text names the action and does not negate it: the verb and then its object, or the object "is" done.

    Between them may be articles and pronouns only: "make a bath bomb" is not the action "make a bomb". The object is
    in the singular or plural; "myself" may be "yourself".
    """
    first, *particle = verb.lower().split()
    forms = " ".join([_verb_forms(first), *map(re.escape, particle)])
    nouns = [re.sub(r"^my(self)?$", r"(?:my|your)\1", word) for word in _ARTICLE.sub("", thing).lower().split()]
    singular = [word.removesuffix("s") for word in nouns]
    words = f" {_DETERMINERS}".join(f"{word}(?:e?s)?" for word in singular if word not in ("a", "an", "the"))
    pattern = rf"\b{forms} {_DETERMINERS}{words}(?!\w)|(?<!\w){words} (?:is|are|gets?) {forms}\b"
    lowered = text.lower().replace("\u2019", "'")
    matches = re.finditer(pattern, lowered)
    return next((found for found in matches if not _NEGATION.search(lowered[: found.start()])), None)


def _verb_forms(verb: str) -> str:
    stem = verb.lower().removesuffix("e")
    irregular = f"|{_IRREGULAR[verb]}" if verb in _IRREGULAR else ""
    return rf"(?:{re.escape(stem)}(?:e|es|s|ed|ing|\w?ing|\w?ed)?{irregular})"
