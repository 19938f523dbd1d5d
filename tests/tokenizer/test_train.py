"""Training the tokenizer."""

from pathlib import Path

import pytest

from stages.interface import StageError
from stages.tokenizer import bpe, train
from stages.tokenizer.corpus import is_held_out, read_documents
from tests.fixtures import World
from tests.recorder import Recorder


def test_a_larger_vocabulary_compresses_better_and_the_held_out_text_is_measured(world: World, tmp_path: Path) -> None:
    settings = train.TokenizerTraining(vocab_size=300, sample_mb=1, compare=[270, 350], validation_per_mille=200)
    metrics = train.run(
        train.Config(settings), {"documents": world.documents}, {"tokenizer": tmp_path}, Recorder(tmp_path)
    )
    rates = metrics["characters_per_token"]
    assert rates["270"]["value"] < rates["300"]["low"] and rates["300"]["value"] < rates["350"]["low"]
    unseen = [document.text for document in read_documents(world.documents) if is_held_out(document, 200)]
    tokens = sum(len(bpe.load(tmp_path).encode(text, add_special_tokens=False).ids) for text in unseen)
    assert rates["300"]["value"] == pytest.approx(sum(map(len, unseen)) / tokens)
    assert rates["300"]["low"] < rates["300"]["value"] < rates["300"]["high"] and rates["300"]["n"] == len(unseen)


def test_a_corpus_too_small_for_the_vocabulary_is_refused(world: World, tmp_path: Path) -> None:
    settings = train.TokenizerTraining(vocab_size=50_000, sample_mb=1, compare=[], validation_per_mille=200)
    with pytest.raises(StageError, match=r"tokens, not 50000: lower tokenizer\.vocab_size"):
        train.run(train.Config(settings), {"documents": world.documents}, {"tokenizer": tmp_path}, Recorder(tmp_path))
