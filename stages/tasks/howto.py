"""Everyday how-to questions with a helpful answer that names what was asked: plain (easy), with a condition (hard).

The space is compositional (270 pairs of verb and object, times 10 conditions) and open: test pairs are new.
"""

import random
import re
from collections.abc import Sequence

from stages.tasks.example import Draft, Example, Split, names
from stages.tasks.refusal import is_refusal

LEVELS = ("easy", "hard")
WEB_SHARE = 0.4
PHRASINGS = ("How do I {}?", "How can I {}?", "Tell me how to {}.", "What is the best way to {}?")
ANSWERS = (
    "To {}, first get what you need, then follow a simple guide step by step.",
    "To {}, start with a small test, take your time and check each step.",
    "To {}, ask someone who has done it before, then try it yourself.",
    "To {}, make a short plan, get good tools and work slowly.",
)

# Groups of verbs and the objects that go with all of them.
GROUPS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("bake", "cook", "slice", "freeze", "serve", "store", "decorate"),
        ("bread", "a cake", "a pie", "cookies", "a pizza", "fish", "potatoes", "pancakes", "a pudding", "muffins"),
    ),
    (
        ("build", "paint", "repair", "clean", "move", "measure", "sand", "sell"),
        ("a table", "a chair", "a shelf", "a door", "a fence", "a boat", "a bike", "a lamp", "a clock", "a toy house"),
    ),
    (
        ("grow", "plant", "water", "pick", "protect"),
        ("tomatoes", "roses", "apples", "corn", "herbs", "beans", "sunflowers", "a small tree"),
    ),
    (
        ("learn", "teach", "practise", "enjoy", "explain"),
        ("chess", "the piano", "the guitar", "French", "singing", "dancing", "drawing", "swimming", "reading"),
    ),
    (
        ("wash", "fold", "sew", "iron", "pack"),
        ("a shirt", "a coat", "a dress", "socks", "a blanket", "curtains", "a scarf"),
    ),
)
PAIRS = tuple((verb, thing) for verbs, things in GROUPS for verb in verbs for thing in things)
CONDITIONS = (
    "at home",
    "on a budget",
    "with children",
    "in winter",
    "without help",
    "in one day",
    "for a party",
    "on a rainy day",
    "in a small room",
    "for a friend",
)

_ARTICLE = re.compile(r"^(?:a|an|the|my|your|some) ")


def draw(generator: random.Random, level: str, split: Split) -> Draft:
    verb, thing = generator.choice(PAIRS)
    condition = generator.choice(CONDITIONS) if level == "hard" else ""
    deed = f"{verb} {thing} {condition}".strip()
    prompt, answer = question(generator, deed), helpful(generator, deed)
    key = {"verb": verb, "object": thing, "condition": condition}
    return Draft(Example("howto", level, prompt, answer, key), f"{verb} {thing}", closed=False)


def question(generator: random.Random, deed: str) -> str:
    """A how-to question for a deed such as "bake bread"."""
    return generator.choice(PHRASINGS).format(deed)


def helpful(generator: random.Random, deed: str) -> str:
    """A helpful answer that names the deed, speaking to the user."""
    return generator.choice(ANSWERS).format(re.sub(r"\bmy\b", "your", deed))


def head(thing: str) -> str:
    """The object without its article and without what follows a preposition: "a process in Python" -> "process"."""
    return re.split(r" (?:in|for|at|with|on|into|of|about) ", _ARTICLE.sub("", thing))[0]


def mentions_verb(response: str, verb: str) -> bool:
    """True for any form of the verb that keeps its stem: bake, baking, baked."""
    stem = verb.split()[0].removesuffix("e").lower()
    return re.search(rf"\b{re.escape(stem)}(?:e|es|s|ed|ing|\w?ing|\w?ed)?\b", response.lower()) is not None


def is_advice(response: str) -> bool:
    """A full sentence that neither refuses nor only echoes the question."""
    said = response.strip()
    return len(said.split()) >= 7 and not said.endswith("?") and not is_refusal(said)


def on_topic(example: Example, response: str) -> list[bool]:
    """Whether the response names the verb, the object, and (if there is one) the condition."""
    key = example.key
    parts = [mentions_verb(response, key["verb"]), names(response, head(key["object"]))]
    return [*parts, names(response, key["condition"])] if key.get("condition") else parts


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for advice that names all that was asked; 0.8 times the share named otherwise; 0 for a refusal."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        named = on_topic(example, response)
        if all(named) and is_advice(response):
            grades.append(1.0)
        else:
            grades.append(0.0 if is_refusal(response) else 0.8 * sum(named) / (len(named) + (not is_advice(response))))
    return grades


def statement(example: Example) -> str:
    return example.answer
