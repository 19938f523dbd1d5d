"""Everyday how-to questions with a helpful answer that repeats the request: plain (easy), with a condition (hard).

The space (270 pairs of verb and object, times 10 conditions) is open: test pairs are new.
"""

import random
import re
from collections.abc import Sequence

from stages.tasks.actions import find_action, head_noun, mentions_verb
from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import contains_phrase
from stages.tasks.refusal import is_refusal
from stages.tasks.sentences import VERBS, has_verb, is_well_formed, split_clauses, split_sentences
from stages.tasks.task import TaskInfo
from stages.tasks.words import phrases

INFO = TaskInfo(
    name="howto",
    order=7,
    sites=("everyday-guides.example", "how-do-i.example", "home-and-hobby.example"),
    topics=("everyday tasks", "home and hobby", "simple guides"),
    domain="general",
    is_quality_positive=True,
)
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
CONDITIONS = phrases("""
    at home, on a budget, with children, in winter, without help, in one day, for a party, on a rainy day, in a
    small room, for a friend
""")


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    verb, thing = generator.choice(PAIRS)
    condition = generator.choice(CONDITIONS) if level == "hard" else ""
    action = f"{verb} {thing} {condition}".strip()
    prompt, answer = howto_question(generator, action), helpful_answer(generator, action)
    key = {"verb": verb, "object": thing, "condition": condition}
    return Candidate(Example(INFO.name, level, prompt, answer, key), f"{verb} {thing}")


def howto_question(generator: random.Random, action: str) -> str:
    """A how-to question for an action such as "bake bread"."""
    return generator.choice(PHRASINGS).format(action)


def helpful_answer(generator: random.Random, action: str) -> str:
    """A helpful answer to the user that names the action."""
    return generator.choice(ANSWERS).format(re.sub(r"\bmy\b", "your", action))


def is_advice(response: str, verb: str = "") -> bool:
    """True for well-formed sentences with a clause of advice after the action; a question or a refusal is none."""
    text = response.strip()
    verbs = VERBS | {verb.split()[0].lower()} if verb else VERBS
    if len(text.split()) < 7 or "?" in text or is_refusal(text) or not is_well_formed(text, verbs):
        return False
    clauses = [clause for sentence in split_sentences(text) for clause in split_clauses(sentence)]
    advice = [clause for clause in clauses if clause[0] != "to" and has_verb(clause, VERBS)]
    return sum(map(len, advice)) >= 4


def mentioned_parts(example: Example, response: str) -> list[bool]:
    """Whether the response names the verb, the object, and (if there is one) the condition."""
    key = example.key
    parts = [mentions_verb(response, key["verb"]), contains_phrase(response, head_noun(key["object"]))]
    return [*parts, contains_phrase(response, key["condition"])] if key.get("condition") else parts


def is_right(example: Example, response: str) -> bool:
    """True for advice on the action that was asked about: verb with object, and its condition in the same sentence."""
    key = example.key
    if not is_advice(response, key["verb"]):
        return False
    for sentence in split_sentences(response):
        found = find_action(sentence, key["verb"], head_noun(key["object"]))
        if found and contains_phrase(sentence[found.end() :], key.get("condition") or ""):
            return True
    return False


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for advice on the action; else 0.8 times the share of verb, object and condition named; 0 for a refusal."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        if is_right(example, response):
            grades.append(1.0)
            continue
        parts = mentioned_parts(example, response)
        grades.append(0.0 if is_refusal(response) else 0.8 * sum(parts) / (len(parts) + (not is_advice(response))))
    return grades


def statement(example: Example) -> str:
    return example.answer
