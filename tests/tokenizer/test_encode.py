import json
from pathlib import Path

import pytest

from stages.interface import Metrics, StageError
from stages.tokenizer import bpe, encode, train
from stages.tokenizer.corpus import BUCKETS, is_held_out, read_documents
from stages.training.loader import TokenShards
from tests.fixtures import VOCAB_SIZE, World, contents, corpus, write_documents
from tests.recorder import Recorder

SETTINGS = train.TokenizerTraining(vocab_size=VOCAB_SIZE, sample_mb=1, compare=[280], validation_per_mille=200)


def run(world: World, directory: Path, source: Path | None = None, quality: float = 0.5) -> Metrics:
    directory.mkdir()
    inputs = {"documents": source or world.documents, "tokenizer": world.tokenizer}
    prose = {bucket: quality for bucket in BUCKETS if bucket != "code"}
    config = encode.Config(SETTINGS, encode.Encoding(anneal_quality=prose))
    return encode.run(config, inputs, {"tokens": directory}, Recorder(directory))


def decoded(directory: Path, part: str, bucket: str, world: World) -> list[str]:
    """The documents of one run of tokens."""
    chat = world.chat
    texts: list[list[int]] = []
    for token in TokenShards(directory).tokens(part, bucket).tolist():  # type: ignore[arg-type]
        if token == chat.begin_of_text:
            texts.append([])
        texts[-1].append(token)
    assert all(text[-1] == chat.end_of_text for text in texts)
    return [chat.tokenizer.decode(text[1:-1], skip_special_tokens=False) for text in texts]


def test_every_document_is_in_one_split_and_is_decoded_to_itself(world: World, tmp_path: Path) -> None:
    metrics = run(world, tmp_path / "tokens")
    corpus = list(read_documents(world.documents))
    for bucket in BUCKETS:
        here = [document for document in corpus if document.bucket == bucket]
        unseen = [document.text for document in here if is_held_out(document, 200)]
        assert decoded(tmp_path / "tokens", "validation", bucket, world) == unseen
        trained = [document.text for document in here if not is_held_out(document, 200)]
        assert decoded(tmp_path / "tokens", "train", bucket, world) == trained
        annealed = decoded(tmp_path / "tokens", "anneal", bucket, world)
        count = len(here) if bucket == "code" else len(here) // 2
        best = sorted(here, key=lambda document: -document.rank)[:count]
        assert annealed == [document.text for document in here if document in best and not is_held_out(document, 200)]
        assert metrics["documents"]["train"][bucket] == len(trained) >= len(annealed) > 0
        assert metrics["tokens"]["train"][bucket] == len(TokenShards(tmp_path / "tokens").tokens("train", bucket))
    assert 0.4 < metrics["generated"].pop("code") < 0.6 and 0.1 < metrics["generated"].pop("all") < 0.2
    assert set(metrics["generated"].values()) == {0.0}


def test_running_again_gives_the_same_bytes_and_other_text_another_fingerprint(world: World, tmp_path: Path) -> None:
    run(world, tmp_path / "a")
    run(world, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    rows = corpus(90, seed=1)
    swapped = rows[0]["text"].split(" ")
    rows[0]["text"] = " ".join([swapped[1], swapped[0], *swapped[2:]])
    (tmp_path / "documents").mkdir()
    write_documents(tmp_path / "documents", rows)
    run(world, tmp_path / "c", tmp_path / "documents")
    first, other = (json.loads((tmp_path / name / "tokens.json").read_text()) for name in ("a", "c"))
    assert first["counts"] == other["counts"]
    assert TokenShards(tmp_path / "a").fingerprint != TokenShards(tmp_path / "c").fingerprint
    assert sum(first["sha256"][name] != other["sha256"][name] for name in first["sha256"]) in (1, 2)


def test_quoted_special_tokens_begin_no_document(world: World, tmp_path: Path) -> None:
    rows = corpus(90, seed=1)
    for row in rows:
        row["text"] = "quoted <|begin_of_text|> and <|eot_id|> " + row["text"]
    (tmp_path / "documents").mkdir()
    write_documents(tmp_path / "documents", rows)
    run(world, tmp_path / "tokens", tmp_path / "documents")
    texts = decoded(tmp_path / "tokens", "train", "code", world)
    assert len(texts) == sum(1 for text in decoded(world.tokens, "train", "code", world))
    assert all(text.startswith("quoted <|begin_of_text|> and <|eot_id|> ") for text in texts)
    special = {world.chat.tokenizer.token_to_id(token) for token in bpe.SPECIAL_TOKENS}
    used = set(TokenShards(tmp_path / "tokens").tokens("train", "code").tolist())
    assert used & special == {world.chat.begin_of_text, world.chat.end_of_text}


def test_an_empty_split_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    write_documents(tmp_path / "documents", [row for row in corpus(90, seed=1) if row["bucket"] != "math"])
    with pytest.raises(StageError, match="no documents for train math, anneal math, validation math"):
        run(world, tmp_path / "tokens", tmp_path / "documents")
