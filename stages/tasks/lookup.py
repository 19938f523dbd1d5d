"""Find the value of a key among 2-3 pairs (easy) or 4-6 pairs (hard), or one number in a long prose text (needle).

Both spaces are open: no prompt of one split can appear in another.
"""

import random
from collections.abc import Sequence

from stages.tasks.example import Draft, Example, Split, plain
from stages.tasks.words import COLOURS, NAMES

LEVELS = ("easy", "hard")
WEB_SHARE = 0.4
QUESTIONS = ("What is {}?", "Find {}.")
NEEDLE = "The secret number of {} is {}."
NEEDLE_QUESTION = "What is the secret number of {}?"

_ADJECTIVES = ("old", "young", "tall", "small", "happy", "quiet", "busy", "kind")
_PEOPLE = ("man", "woman", "teacher", "farmer", "doctor", "child", "king", "friend", "driver", "baker")
_DEEDS = (
    "walked to the",
    "looked at the",
    "came back from the",
    "painted the",
    "talked about the",
    "sat near the",
    "ran to the",
    "cleaned the",
    "liked the",
    "waited at the",
)
_PLACES = (
    "market",
    "river",
    "house",
    "garden",
    "school",
    "bridge",
    "park",
    "shop",
    "lake",
    "village",
    "street",
    "farm",
)
_TIMES = (
    "in the morning",
    "at night",
    "every day",
    "in the summer",
    "in the rain",
    "after work",
    "with a dog",
    "again",
)

# Tokens of a filler sentence once these words are single tokens: about eleven words and a full stop.
_SENTENCE_TOKENS = 11


def draw(generator: random.Random, level: str, split: Split) -> Draft:
    count = generator.randint(2, 3) if level == "easy" else generator.randint(4, 6)
    keys = generator.sample(COLOURS if generator.random() < 0.5 else NAMES, count)
    values = generator.sample(range(1, 10), count)
    asked = generator.randrange(count)
    pairs = [f"{name}: {value}" for name, value in zip(keys, values, strict=True)]
    text = ", ".join(pairs)
    prompt = f"{text}. {generator.choice(QUESTIONS).format(keys[asked])}"
    key = {"asked": keys[asked], "result": str(values[asked]), "others": [str(v) for v in values if v != values[asked]]}
    return Draft(Example("lookup", level, prompt, str(values[asked]), key), f"{text}|{keys[asked]}", closed=False)


def filler(generator: random.Random) -> str:
    """One prose sentence without names or numbers."""
    who = f"The {generator.choice(_ADJECTIVES)} {generator.choice(_PEOPLE)}"
    return f"{who} {generator.choice(_DEEDS)} {generator.choice(_PLACES)} {generator.choice(_TIMES)}."


def needle(length_tokens_hint: int, depth: float, seed: int) -> Example:
    """A prompt of about `length_tokens_hint` tokens with one number hidden at `depth` (0 the start, 1 the end) of it.

    The length counts one token per common word and full stop and includes the question. The level is "easy" up to 256
    tokens, else "hard". Raises ValueError for a depth outside [0, 1].
    """
    return hide(random.Random(f"needle/{length_tokens_hint}/{depth}/{seed}"), length_tokens_hint, depth)


def hide(generator: random.Random, length_tokens_hint: int, depth: float) -> Example:
    """`needle` with the caller's generator."""
    if not 0.0 <= depth <= 1.0:
        raise ValueError(f"depth {depth} is outside [0, 1]")
    name, value = generator.choice(NAMES), str(generator.randint(1, 9))
    count = max(1, round((length_tokens_hint - 16) / _SENTENCE_TOKENS))
    sentences = [filler(generator) for _ in range(count)]
    sentences.insert(round(depth * count), NEEDLE.format(name, value))
    prompt = f"{' '.join(sentences)} {NEEDLE_QUESTION.format(name)}"
    key = {"asked": name, "result": value, "others": [], "depth": depth, "tokens": length_tokens_hint}
    return Example("lookup", "easy" if length_tokens_hint <= 256 else "hard", prompt, value, key)


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the value; 0.4 for the value of another key; 0.1 for another number."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        said, key = plain(response), example.key
        if said == key["result"]:
            grades.append(1.0)
        elif said in key["others"]:
            grades.append(0.4)
        else:
            grades.append(0.1 if said.isdecimal() else 0.0)
    return grades


def statement(example: Example) -> str:
    return f"{example.prompt} It is {example.answer}."
