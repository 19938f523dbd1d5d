"""Encodes the corpus (3.1.2, 3.2): one run of tokens per part and bucket, documents between their boundary tokens.

The mix itself is drawn by the loader, in the shares asked for, so another mix needs no other tokens. The corpus is read
twice, the first time without its texts: of these only `CHUNK` documents are in memory at a time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import BUCKETS, Bucket, Document, documents, is_held_out, quality_ranks
from stages.tokenizer.train import TokenizerTraining

PARTS = ("train", "anneal", "validation")
CHUNK = 512
"""Documents encoded together."""


class Encoding(Section):
    """How documents become tokens."""

    anneal_quality: dict[Bucket, Annotated[float, Field(ge=0, lt=1)]]
    """Bucket -> quantile of its ranks by quality, each within a language, above which a document is also annealed on;
    of buckets that are not named, all (assumption; paper 3.1.3 and 3.4.3 say "high quality" and give no number). The
    ranks tell good prose: what is select in mathematics or code is the domain itself."""


@dataclass(frozen=True)
class Config:
    tokenizer: Annotated[TokenizerTraining, "tokenizer"]
    encoding: Annotated[Encoding, "encoding"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """documents, tokenizer -> tokens (<part>-<bucket>.bin, tokens.json)."""
    tokenizer = bpe.load(inputs["tokenizer"])
    chat = ChatFormat(tokenizer)
    ranks = quality_ranks(inputs["documents"])
    total = sum(map(len, ranks.values()))
    bar = rank_bar(ranks, config.encoding.anneal_quality)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    counts = {part: dict.fromkeys(BUCKETS, 0) for part in PARTS}
    number = {part: dict.fromkeys(BUCKETS, 0) for part in PARTS}
    characters: Counter[str] = Counter()
    names = {(part, bucket): f"{part}-{bucket}.bin" for part in PARTS for bucket in BUCKETS}
    files = {key: (outputs["tokens"] / name).open("wb") for key, name in names.items()}
    try:
        for done, chunk in enumerate(chunks(documents(inputs["documents"]))):
            encodings = tokenizer.encode_batch([document.text for document in chunk], add_special_tokens=False)
            for document, encoding in zip(chunk, encodings, strict=True):
                tokens = np.array([chat.begin_of_text, *encoding.ids, chat.end_of_text], dtype=dtype)
                for part in parts_of(document, config.tokenizer.validation_per_mille, bar):
                    files[part, document.bucket].write(tokens.tobytes())
                    counts[part][document.bucket] += len(tokens)
                    number[part][document.bucket] += 1
                characters[document.bucket] += len(document.text)
            context.progress("documents", min((done + 1) * CHUNK, total), total)
    finally:
        for file in files.values():
            file.close()
    empty = [f"{part} {bucket}" for part in PARTS for bucket in BUCKETS if not counts[part][bucket]]
    if empty:
        raise StageError(f"{inputs['documents']}: no documents for {', '.join(empty)}; take in more sources")
    write_index(outputs["tokens"], tokenizer.get_vocab_size(), chat.begin_of_text, dtype, counts)
    table = [
        {"bucket": bucket, "characters": characters[bucket], **{part: counts[part][bucket] for part in PARTS}}
        for bucket in BUCKETS
    ]
    context.table("tokens", table)
    return {"tokens": counts, "documents": number, "characters": dict(characters)}


def parts_of(document: Document, validation_per_mille: int, bar: Mapping[Bucket, float]) -> list[str]:
    """A document is held out, or trained on and perhaps annealed on as well."""
    if is_held_out(document, validation_per_mille):
        return ["validation"]
    return ["train", "anneal"] if document.rank >= bar.get(document.bucket, 0.0) else ["train"]


def rank_bar(ranks: Mapping[Bucket, Sequence[float]], quantiles: Mapping[Bucket, float]) -> dict[Bucket, float]:
    """The rank above which a document of each bucket is annealed on."""
    return {
        bucket: float(np.quantile(ranks[bucket], quantile)) for bucket, quantile in quantiles.items() if ranks[bucket]
    }


def chunks(corpus: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of `CHUNK`, the last one shorter."""
    left = iter(corpus)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def write_index(
    directory: Path, vocab_size: int, begin_of_text: int, dtype: type, counts: Mapping[str, Mapping[Bucket, int]]
) -> None:
    """tokens.json: what `stages.training.loader.TokenShards` needs to know; digests tell one corpus from another."""
    index = {
        "dtype": np.dtype(dtype).name,
        "vocab_size": vocab_size,
        "begin_of_text": begin_of_text,
        "counts": counts,
        "sha256": {path.name: _digest(path) for path in sorted(directory.glob("*.bin"))},
    }
    (directory / "tokens.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
