"""Trains the tokenizer (3.2): byte-level BPE on a sample of the corpus; measures compression by vocabulary size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer

from stages import statistics
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tokenizer import bpe
from stages.tokenizer.corpus import is_held_out, read_documents


class TokenizerTraining(Section):
    """Training data and size of the tokenizer."""

    vocab_size: int = Field(ge=300)
    """Tokens, special ones included (paper 3.2: 128,000)."""
    sample_mb: float = Field(gt=0)
    """Training text, in MB (assumption)."""
    compare: list[int]
    """Other vocabulary sizes whose compression is measured too (paper 3.2: 3.17 to 3.94 characters per token)."""
    validation_per_mille: int = Field(ge=1, le=500)
    """Documents held out of tokenizer and model training, per thousand (assumption)."""


@dataclass(frozen=True)
class Config:
    tokenizer: Annotated[TokenizerTraining, "tokenizer"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """documents -> tokenizer (tokenizer.json, tokenizer_config.json)."""
    settings = config.tokenizer
    sample: list[str] = []
    validation: list[str] = []
    size = 0
    for document in read_documents(inputs["documents"]):
        if is_held_out(document, settings.validation_per_mille):
            validation.append(document.text)
        elif size < settings.sample_mb * 1e6:
            sample.append(document.text)
            size += len(document.text.encode())
    if not sample or not validation:
        raise StageError(
            f"{inputs['documents']}: {len(sample)} documents to train on, {len(validation)} held out: too few"
        )

    sizes = sorted({*settings.compare, settings.vocab_size})
    compression = {}
    for done, vocab_size in enumerate(sizes, start=1):
        tokenizer = bpe.train(sample, vocab_size)
        if tokenizer.get_vocab_size() != vocab_size:
            raise StageError(
                f"{inputs['documents']}: {size:,} bytes of text give {tokenizer.get_vocab_size()} tokens, not "
                f"{vocab_size}: lower tokenizer.vocab_size and tokenizer.compare, or take in more text"
            )
        if vocab_size == settings.vocab_size:
            bpe.save(tokenizer, outputs["tokenizer"])
        compression[str(vocab_size)] = characters_per_token(tokenizer, validation)
        context.progress("vocabularies", done, len(sizes))
    context.table("compression", [{"vocabulary": size, **value} for size, value in compression.items()])
    return {"vocab_size": settings.vocab_size, "sample_bytes": size, "characters_per_token": compression}


def characters_per_token(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Characters of held-out text per token, with an interval over documents (bootstrap of the ratio)."""
    characters = np.array([len(text) for text in texts], dtype=float)
    tokens = np.array([len(e.ids) for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)], dtype=float)
    return statistics.bootstrap_ratio(characters, tokens)
