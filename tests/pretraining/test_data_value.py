import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from stages.curation.pages import warc
from stages.interface import Metrics, StageError
from stages.pretraining import initial
from stages.pretraining.data_value import (
    NEW,
    AnnealingStart,
    ExtendedShards,
    Valuation,
    held_out_documents,
    measure_value,
    train_half,
)
from stages.pretraining.document_reader import read_documents
from stages.pretraining.phase import load_member
from stages.training import loop
from stages.training.loader import Mixture
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, change, corpus, settings
from tests.recorder import Recorder

SETTINGS = initial.Initial(warmup_share=0.1, floor=0.1, ramp=[initial.Ramp(share=1, length=32, batch_tokens=256)])
CONFIG = initial.Config(1, MIX, settings(), LEARNING_RATE, change(PRETRAINING, validation_windows=24), SETTINGS)


def tokens_of(world: World, documents: list[str]) -> np.ndarray:
    chat = world.chat
    ids = [token for text in documents for token in (chat.begin_of_text, *chat.encode_text(text), chat.end_of_text)]
    return np.array(ids)


def started(world: World, directory: Path) -> AnnealingStart:
    plan = load_member(world.herd, "flagship") | {"tokens": 24_000}
    return train_half(CONFIG, world.shards, plan, Valuation().trained, Recorder(directory))


def valued(world: World, directory: Path, new: np.ndarray, start: AnnealingStart) -> Metrics:
    return measure_value(new, start, world.shards, CONFIG, 6_000, Valuation(), Recorder(directory))


def test_a_good_data_set_and_a_shuffled_one_are_told_apart(world: World, tmp_path: Path) -> None:
    """More code like the held-out code lowers its loss; the same tokens in random order do not."""
    start = started(world, tmp_path)
    before = {name: p.clone() for name, p in start.model.named_parameters()}
    good = tokens_of(world, [row["text"] for row in corpus(60, seed=7) if row["bucket"] == "code"])
    shuffled = np.random.default_rng(0).permutation(good)
    metrics = valued(world, tmp_path / "good", good, start)
    assert metrics["gain_by_bucket"]["code"]["low"] > 0
    assert metrics["tokens"] == 6_016 and metrics["new_tokens"] == len(good)
    assert metrics["new_epochs"] == pytest.approx(0.3 * 6_016 / len(good), rel=0.2)
    for name in ("gain", "loss_with", "loss_without"):
        assert set(metrics[f"{name}_by_bucket"]) == set(MIX.shares())
        assert metrics[name]["n"] == 24
    assert metrics["gain"]["value"] == pytest.approx(metrics["loss_without"]["value"] - metrics["loss_with"]["value"])
    other = valued(world, tmp_path / "shuffled", shuffled, start)
    assert other["gain"]["value"] < metrics["gain"]["value"]
    assert other["gain_by_bucket"]["code"]["high"] < metrics["gain_by_bucket"]["code"]["low"]
    assert other["loss_without"] == metrics["loss_without"]  # the default mix alone is the same run both times
    assert all(torch.equal(before[name], p) for name, p in start.model.named_parameters())


def test_thirty_percent_are_new_and_the_rate_falls_to_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    seen: list[Any] = []

    def watched(
        model: Any, micro_batches: Any, loss: Any, optimizer: Any, lr: float, training: Any, strategy: Any
    ) -> dict[str, float]:
        rates.append(lr)
        seen.extend(tuple(row.tolist()) for batch in micro_batches for row in batch.tokens)
        return {"loss": 1.0, "grad_norm": 1.0, "batch_tokens": 1}

    start = started(world, tmp_path)
    whole = initial.make_schedule(CONFIG, start.model.config, 47)  # 12,000 tokens in the phase, 256 a step
    assert start.learning_rate == whole(23)
    monkeypatch.setattr(loop, "step", watched)
    new = np.full(32 * 40 + 1, 7)
    valued(world, tmp_path / "a", new, start)
    assert len(rates) == 2 * 47 and rates[:47] == rates[47:]
    assert rates[:47] == pytest.approx([start.learning_rate * (1 - step / 47) for step in range(47)])
    half = len(seen) // 2
    assert [sum(set(row) == {7} for row in rows) for rows in (seen[:half], seen[half:])] == [0, round(0.3 * half)]


def test_the_new_bucket_has_a_fingerprint_of_its_own(world: World) -> None:
    shares = {"general": 0.7, NEW: 0.3}

    def fingerprint(token: int) -> str:
        return Mixture(ExtendedShards(world.tokens, np.full(100, token)), "train", shares, 32, 1).fingerprint

    assert fingerprint(3) == fingerprint(3) != fingerprint(4)


def test_too_few_tokens_are_refused(world: World, tmp_path: Path) -> None:
    start = AnnealingStart(started(world, tmp_path).model, {}, 1e-3)
    with pytest.raises(StageError, match="the new data have 32 tokens; one window takes 33"):
        valued(world, tmp_path, np.zeros(32), start)


def test_the_held_out_documents_are_found_again(world: World) -> None:
    known, chat = held_out_documents(world.shards), world.chat
    dtype = world.shards.index["dtype"]
    rows = corpus(90, seed=1)
    encoded = {tokens_of(world, [row["text"]]).astype(dtype).tobytes() for row in rows}
    held = {tokens_of(world, [r["text"]]).astype(dtype).tobytes() for r in rows if int(r["id"][:8], 16) % 1000 < 200}
    assert known == held < encoded and len(known) > 30 and chat is not None


def test_documents_are_read_from_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text\nof two lines")
    (tmp_path / "b.jsonl").write_text('{"text": "first line"}\n\n{"text": "   "}\n{"text": "second line"}\n')
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "packed"}) + "\n")
    pq.write_table(pa.table({"text": ["a row", None, "another"], "n": [1, 2, 3]}), tmp_path / "d.parquet")
    words = "The page says something that is long enough to be kept as its text."
    body = f"<html><body><main><p>{words}</p></main></body></html>".encode()
    record = warc.make_record("https://a.example/", "2024-01-01T00:00:00Z", "text/html", body, uuid.UUID(int=1), {})
    (tmp_path / "e.warc.gz").write_bytes(record)
    (tmp_path / "f.bin").write_bytes(b"\0")
    result = list(read_documents(tmp_path))
    assert result[:6] == ["a text\nof two lines", "first line", "second line", "packed", "a row", "another"]
    assert len(result) == 7 and "long enough to be kept" in result[6]
    assert list(read_documents(tmp_path / "a.txt")) == result[:1]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="nowhere does not exist"):
        list(read_documents(tmp_path / "nowhere"))
    with pytest.raises(StageError, match=r"no readable file; supported are \.txt"):
        list(read_documents(tmp_path))
    (tmp_path / "b.jsonl").write_text('{"text": "good"}\n{"content": "other field"}\n')
    with pytest.raises(StageError, match=r"b\.jsonl, line 2: no JSON object with the field text"):
        list(read_documents(tmp_path / "b.jsonl"))
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(StageError, match=r"c\.parquet: no column text; it has content"):
        list(read_documents(tmp_path / "c.parquet"))
    (tmp_path / "n.jsonl").write_text('{"text": null}\n{"text": "half \\ud800"}\n{"text": 3}\n')
    rows = read_documents(tmp_path / "n.jsonl")
    assert next(rows) == "half ?"
    with pytest.raises(StageError, match=r"n\.jsonl, line 3: text is not a string but 3"):
        next(rows)
    (tmp_path / "g.jsonl").write_text("[" * 100_000)
    with pytest.raises(StageError, match=r"g\.jsonl, line 1: no JSON object"):
        list(read_documents(tmp_path / "g.jsonl"))
    torn = gzip.compress(b'{"text": "a"}\n' * 1000)
    (tmp_path / "h.jsonl.gz").write_bytes(torn[: len(torn) // 2])
    with pytest.raises(StageError, match=r"h\.jsonl\.gz cannot be read"):
        list(read_documents(tmp_path / "h.jsonl.gz"))
    (tmp_path / "d.parquet").write_bytes(b"not parquet")
    with pytest.raises(StageError, match=r"d\.parquet cannot be read"):
        list(read_documents(tmp_path / "d.parquet"))
    (tmp_path / "e.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(StageError, match=r"e\.txt cannot be read"):
        list(read_documents(tmp_path / "e.txt"))
