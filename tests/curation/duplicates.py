"""Documents with duplicates, and the stage that removes them."""

import random
from pathlib import Path

from stages.curation import dedup
from stages.curation.dedup import Config, Dedup
from stages.curation.documents import Document
from stages.interface import Metrics
from tests.curation.samples import fresh, store
from tests.recorder import Recorder

WORDS = [f"word{n}" for n in range(2000)]


def options(memory_mb: int = 100, **fields: object) -> Config:
    near = {"shingle": 3, "permutations": 128, "threshold": 0.8, "recall_weight": 0.9}
    repeated = {"most": 6, "bucket_documents": 1000, "characters": 10}
    return Config(1, Dedup.model_validate({"memory_mb": memory_mb, "minhash": near | fields, "lines": repeated}))


def text(generator: random.Random, words: int) -> list[str]:
    return [generator.choice(WORDS) for _ in range(words)]


def near_copies(number: int, seed: int) -> list[list[str]]:
    """Random texts, half of them copies of an earlier one with a random share of words changed."""
    generator = random.Random(seed)
    texts: list[list[str]] = []
    for n in range(number):
        copy = n % 2 and texts
        words = list(generator.choice(texts)) if copy else text(generator, generator.randrange(3, 300))
        rate = generator.choice([0, 0.01, 0.02, 0.05, 0.2])
        texts.append([generator.choice(WORDS) if copy and generator.random() < rate else word for word in words])
    return texts


def random_text(generator: random.Random) -> str:
    """No word up to 400, each of up to 12 characters of one of several scripts, of signs or of any plane of Unicode."""
    ranges = generator.choice(
        [
            (97, 122),
            (65, 90),
            (0xC0, 0x24F),
            (0x391, 0x3C9),
            (0x627, 0x64A),
            (0xE01, 0xE3A),
            (0x3042, 0x30FF),
            (0x4E00, 0x9FFF),
            (0x1F300, 0x1FAFF),
            (0, 0xD7FF),
        ]
    )
    count = generator.choice([0, 1, 2, 4, 5, 6, generator.randrange(400)])
    words = ("".join(chr(generator.randint(*ranges)) for _ in range(generator.randrange(13))) for _ in range(count))
    return generator.choice([" ", "\n", ", ", "\u3000"]).join(words)


def run(rows: list[Document], directory: Path, shards: int = 1, config: Config | None = None) -> Metrics:
    source = store(directory / "in", rows, shards)
    return dedup.run(
        config or options(), {"documents": source}, {"documents": fresh(directory / "out")}, Recorder(directory)
    )
