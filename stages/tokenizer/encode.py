"""Encodes the corpus (3.1.2, 3.2): one token file per split and bucket, documents between their boundary tokens.

The loader draws the mix, so another mix needs no other tokens. The corpus is read twice, the first time without texts;
texts of at most `CHUNK` documents are in memory at a time.
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

from stages.curation.documents import generated_shares, is_generated
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import BUCKETS, Bucket, Document, is_held_out, quality_ranks, read_documents
from stages.tokenizer.train import TokenizerTraining

SPLITS = ("train", "anneal", "validation")
CHUNK = 512
"""Documents encoded at once."""


class Encoding(Section):
    """Which documents are annealed on."""

    anneal_quality: dict[Bucket, Annotated[float, Field(ge=0, lt=1)]]
    """Bucket -> quantile of its quality ranks, each within a language, above which a document is also annealed on; all
    documents of buckets without an entry (assumption; paper 3.1.3 and 3.4.3 say "high quality" and give no number). The
    ranks measure prose; mathematics and code are selective by their domain."""


@dataclass(frozen=True)
class Config:
    tokenizer: Annotated[TokenizerTraining, "tokenizer"]
    encoding: Annotated[Encoding, "encoding"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """documents, tokenizer -> tokens (<split>-<bucket>.bin, tokens.json)."""
    tokenizer = bpe.load(inputs["tokenizer"])
    chat = ChatFormat(tokenizer)
    ranks = quality_ranks(inputs["documents"])
    total = sum(map(len, ranks.values()))
    thresholds = rank_thresholds(ranks, config.encoding.anneal_quality)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    counts = {split: dict.fromkeys(BUCKETS, 0) for split in SPLITS}
    num_documents = {split: dict.fromkeys(BUCKETS, 0) for split in SPLITS}
    characters: Counter[str] = Counter()
    tokens_by_origin = Counter[tuple[str, bool]]()
    names = {(split, bucket): f"{split}-{bucket}.bin" for split in SPLITS for bucket in BUCKETS}
    files = {key: (outputs["tokens"] / name).open("wb") for key, name in names.items()}
    try:
        for done, chunk in enumerate(batch_documents(read_documents(inputs["documents"]))):
            encodings = tokenizer.encode_batch([document.text for document in chunk], add_special_tokens=False)
            for document, encoding in zip(chunk, encodings, strict=True):
                tokens = np.array([chat.begin_of_text, *encoding.ids, chat.end_of_text], dtype=dtype)
                for split in splits_of(document, config.tokenizer.validation_per_mille, thresholds):
                    files[split, document.bucket].write(tokens.tobytes())
                    counts[split][document.bucket] += len(tokens)
                    num_documents[split][document.bucket] += 1
                characters[document.bucket] += len(document.text)
                tokens_by_origin[document.bucket, is_generated(document.source)] += len(tokens)
            context.progress("documents", min((done + 1) * CHUNK, total), total)
    finally:
        for file in files.values():
            file.close()
    empty = [f"{split} {bucket}" for split in SPLITS for bucket in BUCKETS if not counts[split][bucket]]
    if empty:
        raise StageError(f"{inputs['documents']}: no documents for {', '.join(empty)}; take in more sources")
    write_index(outputs["tokens"], tokenizer.get_vocab_size(), chat.begin_of_text, dtype, counts)
    table = [
        {"bucket": bucket, "characters": characters[bucket], **{split: counts[split][bucket] for split in SPLITS}}
        for bucket in BUCKETS
    ]
    context.table("tokens", table)
    return {
        "tokens": counts,
        "documents": num_documents,
        "characters": dict(characters),
        "generated": generated_shares(tokens_by_origin),
    }


def splits_of(document: Document, validation_per_mille: int, thresholds: Mapping[Bucket, float]) -> list[str]:
    """The splits of a document: validation, or train and perhaps anneal as well."""
    if is_held_out(document, validation_per_mille):
        return ["validation"]
    return ["train", "anneal"] if document.rank >= thresholds.get(document.bucket, 0.0) else ["train"]


def rank_thresholds(ranks: Mapping[Bucket, Sequence[float]], quantiles: Mapping[Bucket, float]) -> dict[Bucket, float]:
    """The rank from which on a document of each bucket is annealed on."""
    return {
        bucket: float(np.quantile(ranks[bucket], quantile)) for bucket, quantile in quantiles.items() if ranks[bucket]
    }


def batch_documents(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of `CHUNK`, the last one shorter."""
    remaining = iter(documents)
    while batch := list(islice(remaining, CHUNK)):
        yield batch


def write_index(
    directory: Path, vocab_size: int, begin_of_text: int, dtype: type, counts: Mapping[str, Mapping[Bucket, int]]
) -> None:
    """Writes tokens.json, the index for `stages.training.loader.TokenShards`; its digests identify the corpus."""
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
