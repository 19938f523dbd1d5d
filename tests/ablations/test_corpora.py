"""Corpora against each other: what is dropped is really dropped, and nothing held out is trained on."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from stages.ablations import heuristic_filter, line_dedup, quality_filter
from stages.ablations.corpora import POOL, CorpusComparison, read_documents, write_tokens
from stages.curation import classify, dedup, documents
from stages.curation.classification import quality as quality_classifier
from stages.curation.documents import CLASSIFIED, SCHEMA, FilterStats, Removal
from stages.tokenizer import bpe
from stages.tokenizer.corpus import Document, is_held_out
from stages.training.loader import TokenShards
from tests.ablations.test_trial import COMMON, TRIALS
from tests.fixtures import TEXTS, World
from tests.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
CURATION = yaml.safe_load((ROOT / "params.yaml").read_text())["curation"]
OPTIONS = CorpusComparison(trials=TRIALS, sources=[], held_out=["news"], held_out_per_mille=200)
BANNER = "Accept all the cookies of this site to go on reading here"


def pages(number: int, seed: int = 1) -> list[dict[str, Any]]:
    """Half of them news of whole sentences, half forms of few words over and over, all with the same banner."""
    generator = random.Random(seed)
    rows = []
    for n in range(number):
        source = ("news", "forms")[n % 2]
        words = [f"{word}{generator.randrange(60)}" for word in TEXTS["general"].split()] * 4
        body = (
            ". ".join(" ".join(generator.sample(words, 9)) for _ in range(6))
            if source == "news"
            else " ".join(f"buy now {generator.randrange(1000)}" for _ in range(20))
        )
        end = "." if source == "news" else ""
        name = hashlib.sha256(f"{n}".encode()).hexdigest()[:16]
        rows.append(
            {
                "id": name,
                "url": f"http://{source}.org/{n}",
                "host": f"{source}.org",
                "date": "2024-01-01",
                "source": source,
                "media": "html",
                "planted_from": None,
                "code": [],
                "text": f"{BANNER}\n{body} {n}{end}",
                "language": "en",
                "language_score": 1.0,
            }
        )
    return rows


def without_banner(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"text": row["text"].removeprefix(f"{BANNER}\n")} for row in rows]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """What the default run leaves: masked, deduplicated, filtered, corpus."""
    rows = pages(160)
    news = [row for row in without_banner(rows) if row["source"] == "news"]
    last = [
        row | {"quality": 0.9, "judged": 0.9, "rank": 0.5, "domain": "general", "bucket": "general"} for row in news
    ]
    for name, kept, schema in (
        ("masked", rows, SCHEMA),
        ("deduplicated", without_banner(rows), SCHEMA),
        ("filtered", news, SCHEMA),
        ("corpus", last, CLASSIFIED),
    ):
        (tmp_path / name).mkdir()
        documents.write_sharded(tmp_path / name, kept, 2, schema)
    stats = FilterStats()
    for row in without_banner(rows):
        if row["source"] == "forms":
            stats.count_removed(row, Removal("rules", "repeated 5-grams"))
    stats.write(tmp_path / "filtered")
    return tmp_path


def inputs(corpus: Path, world: World) -> dict[str, Path]:
    return {name: corpus / name for name in ("masked", "deduplicated", "filtered", "corpus")} | {
        "tokenizer": world.tokenizer
    }


def text_of(directory: Path, world: World, part: str) -> str:
    tokens = np.fromfile(directory / f"{part}-{POOL}.bin", dtype=np.uint16)
    return bpe.load(world.tokenizer).decode(tokens.tolist())


def test_without_line_dedup_the_repeated_lines_are_trained_on(corpus: Path, world: World, tmp_path: Path) -> None:
    lines = {"most": 6, "characters": 0, "bucket_documents": 1000}
    section = dedup.Dedup.model_validate({"memory_mb": 10, "minhash": CURATION["dedup"]["minhash"], "lines": lines})
    config = line_dedup.Config(**vars(COMMON), dedup=section, comparison=OPTIONS)
    scratch = tmp_path / "scratch"
    result = line_dedup.run(config, inputs(corpus, world), {}, Recorder(scratch))
    assert BANNER in text_of(scratch / "tokens" / "without", world, "train")
    assert BANNER not in text_of(scratch / "tokens" / "with", world, "train")
    assert BANNER not in text_of(scratch / "tokens" / "without", world, "validation")
    assert result["secondary"][0]["value"] > 10
    assert result["configuration"]["documents"]["with"] == 160
    assert len(result["runs"]) == 2 * TRIALS.seeds and result["effect"]["n"] == TRIALS.seeds
    # Started again, it takes the corpus and the runs it has.
    assert line_dedup.run(config, inputs(corpus, world), {}, Recorder(scratch)) == result


def test_heuristics_are_told_by_reason(corpus: Path, world: World, tmp_path: Path) -> None:
    config = heuristic_filter.Config(**vars(COMMON), comparison=OPTIONS)
    result = heuristic_filter.run(config, inputs(corpus, world), {}, Recorder(tmp_path / "scratch"))
    (reason,) = result["secondary"]
    assert reason["quantity"].endswith("repeated 5-grams") and reason["value"] == pytest.approx(50.0)
    assert result["configuration"]["documents"] == {"without": 160, "with": 80}
    assert result["effect"]["value"] > 0.05  # half of the tokens are "buy now"


def test_the_quality_filter_keeps_the_best_by_scores_of_all(
    corpus: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        quality_classifier, "weak_label", lambda document: "positive" if document["source"] == "news" else "negative"
    )
    changed = {"threshold": 0.5, "buckets": ["general", "multilingual"], "lowest": 0.0}
    bucket = CURATION["classify"]["bucket"] | {"examples": {"general": ["news"], "math": ["forms"]}}
    section = classify.Classify.model_validate(
        CURATION["classify"]
        | {"quality": changed, "bucket": bucket}
        | {"features": CURATION["classify"]["features"] | {"hash_bits": 12, "dimension": 4, "epochs": 8}}
    )
    options = quality_filter.QualityComparison(**OPTIONS.model_dump(), keep=0.4)
    config = quality_filter.Config(**vars(COMMON), classify=section, comparison=options)
    given = inputs(corpus, world) | {"filtered": corpus / "deduplicated"}
    scratch = tmp_path / "scratch"
    result = quality_filter.run(config, given, {}, Recorder(scratch))
    counts = result["configuration"]["documents"]
    assert counts["random"] == 160  # the thresholds of the stage have dropped none
    assert counts["best"] == pytest.approx(64, abs=2)
    scored = pq.read_table(scratch / "scored").to_pydict()
    best = [
        source
        for source, quality in zip(scored["source"], scored["quality"], strict=True)
        if quality >= result["configuration"]["quality_bar"]
    ]
    assert best.count("news") > 0.9 * len(best)


def test_no_held_out_document_is_trained_on(corpus: Path, world: World, tmp_path: Path) -> None:
    rows = read_documents(corpus / "corpus", ["news"])
    unseen = {row["id"] for row in rows if is_held_out(Document(row["id"], "general", 0.0, ""), 200)}
    assert 0 < len(unseen) < len(rows)
    config = heuristic_filter.Config(**vars(COMMON), comparison=OPTIONS)
    heuristic_filter.run(config, inputs(corpus, world), {}, Recorder(tmp_path / "scratch"))
    trained, measured = (
        text_of(tmp_path / "scratch" / "tokens" / "with", world, part) for part in ("train", "validation")
    )
    for row in rows:
        assert (row["text"] in measured) == (row["id"] in unseen)
        assert (row["text"] in trained) == (row["id"] not in unseen)


def test_tokens_are_those_the_loader_reads(world: World, tmp_path: Path) -> None:
    rows = [{"id": f"{n:016x}", "text": TEXTS["general"]} for n in range(600)]
    parts = {"train": {POOL: rows, "other": rows[:20]}, "validation": {POOL: rows[:10]}}
    counts = write_tokens(tmp_path / "tokens", bpe.load(world.tokenizer), parts)
    shards = TokenShards(tmp_path / "tokens")
    assert counts == {"train": shards.counts("train"), "validation": shards.counts("validation")}
    assert len(shards.tokens("train", POOL)) == counts["train"][POOL] == 60 * counts["validation"][POOL]
    assert counts["train"]["other"] == 2 * counts["validation"][POOL]
