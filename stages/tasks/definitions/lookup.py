"""Find the value of a key among 2-3 pairs (easy) or 4-6 pairs (hard), or one number in a long text (needle).

Both spaces are open: no prompt of one split can appear in another.
"""

import random
from collections.abc import Sequence

from stages.tasks.example import Candidate, Example, Split
from stages.tasks.matching import normalize_answer
from stages.tasks.task import TaskInfo
from stages.tasks.words import COLOURS, NAMES, phrases

INFO = TaskInfo(
    name="lookup",
    order=4,
    sites=("memory-games.example", "find-the-number.example", "reading-practice.example"),
    topics=("finding the right value", "reading with attention", "memory practice"),
    domain="reasoning",
    is_quality_positive=True,
    is_verified=True,
)
QUESTIONS = ("What is {}?", "Find {}.")
NEEDLE = "The secret number of {} is {}."
NEEDLE_QUESTION = "What is the secret number of {}?"

_ADJECTIVES = ("old", "young", "tall", "small", "happy", "quiet", "busy", "kind")
_PEOPLE = ("man", "woman", "teacher", "farmer", "doctor", "child", "king", "friend", "driver", "baker")
_VERB_PHRASES = phrases("""
    walked to the, looked at the, came back from the, painted the, talked about the, sat near the, ran to the,
    cleaned the, liked the, waited at the
""")
_PLACES = phrases("market, river, house, garden, school, bridge, park, shop, lake, village, street, farm")
_TIMES = phrases("in the morning, at night, every day, in the summer, in the rain, after work, with a dog, again")

# Tokens of a filler sentence of ten words or so and a full stop, if each word is one token.
_SENTENCE_TOKENS = 11


def draw(generator: random.Random, level: str, split: Split) -> Candidate:
    count = generator.randint(2, 3) if level == "easy" else generator.randint(4, 6)
    keys = generator.sample(COLOURS if generator.random() < 0.5 else NAMES, count)
    values = generator.sample(range(1, 10), count)
    asked = generator.randrange(count)
    pairs = [f"{name}: {value}" for name, value in zip(keys, values, strict=True)]
    text = ", ".join(pairs)
    prompt = f"{text}. {generator.choice(QUESTIONS).format(keys[asked])}"
    key = {"asked": keys[asked], "result": str(values[asked]), "others": [str(v) for v in values if v != values[asked]]}
    example = Example(INFO.name, level, prompt, str(values[asked]), key)
    return Candidate(example, f"{text}|{keys[asked]}")


def filler_sentence(generator: random.Random) -> str:
    """One prose sentence without names or numbers."""
    who = f"The {generator.choice(_ADJECTIVES)} {generator.choice(_PEOPLE)}"
    return f"{who} {generator.choice(_VERB_PHRASES)} {generator.choice(_PLACES)} {generator.choice(_TIMES)}."


def needle_example(num_tokens: int, depth: float, seed: int) -> Example:
    """A prompt of about `num_tokens` tokens with one number hidden at `depth` (0 is its start, 1 its end).

    Each word and full stop counts as one token; the question is included. The level is "easy" up to 256 tokens, else
    "hard". Raises ValueError for a depth outside [0, 1].
    """
    return draw_needle(random.Random(f"needle/{num_tokens}/{depth}/{seed}"), num_tokens, depth)


def draw_needle(generator: random.Random, num_tokens: int, depth: float) -> Example:
    """`needle_example` with the caller's generator."""
    if not 0.0 <= depth <= 1.0:
        raise ValueError(f"depth {depth} is outside [0, 1]")
    name, value = generator.choice(NAMES), str(generator.randint(1, 9))
    count = max(1, round((num_tokens - 16) / _SENTENCE_TOKENS))
    sentences = [filler_sentence(generator) for _ in range(count)]
    sentences.insert(round(depth * count), NEEDLE.format(name, value))
    prompt = f"{' '.join(sentences)} {NEEDLE_QUESTION.format(name)}"
    key = {"asked": name, "result": value, "others": [], "depth": depth, "tokens": num_tokens}
    return Example(INFO.name, "easy" if num_tokens <= 256 else "hard", prompt, value, key)


def grade(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """1.0 for the value; 0.4 for the value of another key; 0.1 for another number."""
    grades = []
    for example, response in zip(examples, responses, strict=True):
        answer, key = normalize_answer(response), example.key
        if answer == key["result"]:
            grades.append(1.0)
        elif answer in key["others"]:
            grades.append(0.4)
        else:
            grades.append(0.1 if answer.isdecimal() else 0.0)
    return grades


def statement(example: Example) -> str:
    return f"{example.prompt} It is {example.answer}."
