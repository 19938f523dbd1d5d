"""A world small enough for tests: a corpus, its tokenizer and tokens, the plan of a herd, a model directory.

A conftest.py takes what it needs: `from tests.fixtures import world`.
"""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from stages.interface import Section
from stages.model.files import save_model
from stages.model.llama import Llama, LlamaConfig
from stages.posttraining import data
from stages.posttraining.averaging import Tuning
from stages.posttraining.data import Demonstration, Preference
from stages.pretraining.phase import Pretraining
from stages.scaling.ladder import LearningRate
from stages.tasks.example import Example
from stages.tokenizer import bpe, encode, train
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import BUCKETS, Mix
from stages.training.loader import TokenShards
from stages.training.parameters import Training
from tests.recorder import Recorder

# Matrices as small as these are slower on two threads than on one, many times so on a busy machine.
torch.set_num_threads(1)

VOCAB_SIZE = 300
MIX = Mix(general=0.5, math=0.25, code=0.17, multilingual=0.08)
PRETRAINING = Pretraining(
    epochs=1000, initial=0.5, long_context=0.25, annealing=0.25, validation_windows=8, length=32, batch_tokens=128
)
LEARNING_RATE = LearningRate(reference=1e-2, parameters=10_000, exponent=-0.25)
TEXTS = {
    "general": "the cat sat on a mat and saw the red house by the sea",
    "math": "1 + 2 = 3 4 - 1 = 3 sum of 12 and 7 is 19",
    "code": "def f(x): return x + 1 for i in range(10): print(i)",
    "multilingual": "der Hund läuft über die Straße été où naïve señor",
}


@dataclass(frozen=True)
class World:
    """Paths of what the stages before would have made."""

    documents: Path
    tokenizer: Path
    tokens: Path
    herd: Path
    model: Path

    @classmethod
    def at(cls, root: Path) -> "World":
        return cls(root / "documents", root / "tokenizer", root / "tokens", root / "herd.json", root / "model")

    @property
    def chat(self) -> ChatFormat:
        return ChatFormat(bpe.load(self.tokenizer))

    @property
    def shards(self) -> TokenShards:
        return TokenShards(self.tokens)

    @property
    def pretraining_inputs(self) -> dict[str, Path]:
        return {"tokens": self.tokens, "tokenizer": self.tokenizer, "herd": self.herd, "model": self.model}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world, made once by the stages themselves."""
    return make_world(tmp_path_factory.mktemp("world"))


def make_world(root: Path) -> World:
    made = World.at(root)
    for directory in (made.documents, made.tokenizer, made.tokens):
        directory.mkdir()
    write_documents(made.documents, corpus(90, seed=1))
    settings = train.TokenizerTraining(vocab_size=VOCAB_SIZE, sample_mb=1, compare=[280], validation_per_mille=200)
    inputs = {"documents": made.documents, "tokenizer": made.tokenizer}
    train.run(train.Config(settings), inputs, {"tokenizer": made.tokenizer}, Recorder(root))
    config = encode.Config(settings, encode.Encoding(anneal_quality={"general": 0.5}))
    encode.run(config, inputs, {"tokens": made.tokens}, Recorder(root))
    member = {"config": shape().to_json(), "tokens": 4_000}
    made.herd.write_text(json.dumps({"members": {"flagship": member}}))
    save_model(Llama(shape()).init_weights(1), made.model, made.tokenizer, PRETRAINING.length)
    return made


def corpus(documents: int, seed: int) -> list[dict[str, Any]]:
    """So many documents in each bucket."""
    generator = random.Random(seed)
    rows = []
    for bucket in BUCKETS:
        words = TEXTS[bucket].split()
        for number in range(documents):
            text = " ".join(generator.choice(words) for _ in range(generator.randrange(20, 80)))
            name = hashlib.sha256(f"{bucket}{number}{seed}".encode()).hexdigest()
            source = "generated-code" if bucket == "code" and number % 2 else "news"
            fields = {"id": name, "bucket": bucket, "source": source}
            rows.append(fields | {"rank": generator.random(), "text": text})
    return rows


def examples(count: int = 20) -> list[Example]:
    """Little sums."""
    return [Example("arithmetic", "easy", f"{n} + 1", str(n + 1), {"result": n + 1, "steps": []}) for n in range(count)]


def write_posttraining(directory: Path) -> None:
    """Demonstrations and preferences of the sums, as the stages before SFT and the reward model leave them."""
    data.write_records(
        directory / "demonstrations.jsonl", [Demonstration(e, e.answer, "annotator") for e in examples()]
    )
    rows = [Preference(e, e.answer, "the cat", None, 4, 1) for e in examples()]
    for name in ("preferences", "all"):
        data.write_records(directory / f"{name}.jsonl", rows)


def write_documents(directory: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), directory / "documents-0.parquet")


def shape(**changes: Any) -> LlamaConfig:
    """A tiny model with grouped queries."""
    small = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**(small | changes))


def sharp(model: Any, scale: float = 8.0) -> Any:
    """`model` with larger weights, for a Llama `scale` times 0.02: its attention and logits are far from uniform."""
    if isinstance(model, Llama):
        scale *= 0.02 / model.config.init_std
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= scale
    return model.eval()


def settings(**changes: Any) -> Training:
    """How tests train: float32, no checkpoints."""
    usual: dict[str, Any] = {
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.1,
        "clip": 1.0,
        "precision": "fp32",
    }
    usual |= {"micro_tokens": 100_000, "checkpoint_seconds": 1e6, "keep_checkpoints": 2}
    return Training(
        **(usual | {"compile": False, "spike_window": 0, "spike_deviations": 6.0, "spike_steps": 0} | changes)
    )


def tuning(**changes: Any) -> Tuning:
    usual: dict[str, Any] = {"rates": [1e-2], "steps": 6, "batch": 8, "warmup_share": 0.1}
    return Tuning(**(usual | changes))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file under `directory`, to compare two runs byte for byte."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def change(section: Section, **changes: Any) -> Any:
    """A section with other values, checked."""
    return type(section).model_validate(section.model_dump() | changes)
