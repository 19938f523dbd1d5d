"""Language, quality and bucket: learnt from weak labels, never scored by a model that saw the document."""

from pathlib import Path

import numpy as np
import pytest

from stages.curation import classify, documents
from stages.curation.classification import classifier
from stages.curation.classify import Classify, Config
from tests.curation.labelled import FEATURES, corpus
from tests.curation.samples import contents, fresh, reasons, store
from tests.recorder import Recorder

RULES = {"kind": "rules", "url": None, "model": None, "threshold": 0.0}


def config(**quality: object) -> Config:
    good = {"threshold": 0.5, "buckets": ["general", "multilingual"], "lowest": 0.0}
    examples = {"general": ["wikipedia", "forms", "german"], "math": ["sums"], "code": ["python"]}
    bucket = {"examples": examples, "english": 0.5}
    return Config(
        Classify.model_validate({"features": FEATURES, "quality": good | quality, "judge": RULES, "bucket": bucket})
    )


def test_stage_labels_sorts_and_drops(tmp_path: Path) -> None:
    source = store(tmp_path / "in", corpus(), shards=2)
    metrics = classify.run(config(), {"documents": source}, {"documents": fresh(tmp_path / "out")}, Recorder(tmp_path))
    kept = documents.read_all(tmp_path / "out")
    assert {(row["source"], row["bucket"]) for row in kept if row["language"] != "de"} == {
        ("wikipedia", "general"),
        ("sums", "math"),
        ("python", "code"),
    }
    german = [row for row in kept if row["source"] in ("german", "unlabelled")]
    assert german and all((row["language"], row["bucket"]) == ("de", "multilingual") for row in german)
    assert metrics["sources"]["forms"] == {"dropped": 60}
    assert metrics["quality"]["auc"] > 0.99 and min(metrics["classifier"]["auc"].values()) > 0.99
    confusion = metrics["classifier"]["confusion"]
    assert sum(confusion[true][guess] for true in confusion for guess in confusion if true != guess) == 0
    assert sum(entry["documents"] for entry in metrics["buckets"].values()) == metrics["documents_out"] == len(kept)
    again = classify.run(config(), {"documents": source}, {"documents": fresh(tmp_path / "two")}, Recorder(tmp_path))
    assert again == metrics and contents(tmp_path / "two") == contents(tmp_path / "out")


def test_the_threshold_holds_in_its_buckets_only(tmp_path: Path) -> None:
    source = store(tmp_path / "in", corpus(20))
    metrics = classify.run(
        config(threshold=1.0, buckets=["multilingual"]),
        {"documents": source},
        {"documents": fresh(tmp_path / "out")},
        Recorder(tmp_path),
    )
    assert {name: entry["documents"] for name, entry in metrics["buckets"].items()} == {
        "general": 40,
        "math": 20,
        "code": 20,
        "multilingual": 0,
    }


def test_multilingual_documents_are_ranked_within_their_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "MIN_STEPS", 1)  # longer training gives two documents the same score
    source = store(tmp_path / "in", corpus(20), shards=2)
    metrics = classify.run(
        config(threshold=0.0, lowest=0.25),
        {"documents": source},
        {"documents": fresh(tmp_path / "out")},
        Recorder(tmp_path),
    )
    kept = documents.read_all(tmp_path / "out")
    assert metrics["buckets"]["multilingual"]["documents"] == 15 and reasons(metrics) == {"low in its language": 5}
    german = sorted((row["quality"], row["rank"]) for row in kept if row["language"] == "de")
    assert [rank for _, rank in german] == sorted(rank for _, rank in german) and german[0][1] >= 0.25
    english = [row["rank"] for row in kept if row["language"] == "en"]
    assert len(english) == 80 and np.mean(english) == pytest.approx(0.5, abs=1e-6)


def test_the_result_does_not_depend_on_the_cut_into_files(tmp_path: Path) -> None:
    rows = sorted(corpus(20), key=lambda row: row["id"])
    found = []
    for shards in (1, 3):
        source = store(tmp_path / f"in-{shards}", rows, shards)
        out = {"documents": fresh(tmp_path / f"out-{shards}")}
        metrics = classify.run(config(), {"documents": source}, out, Recorder(tmp_path))
        found.append((metrics, documents.read_all(out["documents"])))
    assert found[0] == found[1]
