"""Language, quality and bucket: learnt from weak labels, never scored by a model that saw the document."""

import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stages.curation import classifier, classify, documents, language
from stages.curation.classifier import Features
from stages.curation.classify import Classify, Config
from stages.curation.documents import Document
from stages.interface import StageError
from tests.curation.samples import PROSE, contents, document, fresh, store
from tests.recorder import Recorder

FEATURES = Features(characters=2000, ngrams=2, hash_bits=14, folds=3, penalty=1e-3, epochs=5)
GERMAN = "Der Fluss fließt durch die alte Stadt und unter zwei Brücken hindurch, bevor er das Meer erreicht."


def corpus(number: int = 60) -> list[Document]:
    """Encyclopaedia, forms, sums and functions, of which a classifier can tell each from the others."""
    generator = random.Random(0)
    rows = []
    sentences = PROSE.split(". ")
    labels = ["Name", "Password", "Email", "Login", "Register", "Submit", "Address", "Forgot", "Remember"]
    for n in range(number):
        rows.append(document(". ".join(generator.choices(sentences, k=5)) + f" {n}", source="wikipedia"))
        rows.append(document(" * ".join(generator.choices(labels, k=20)) + f" {n}", source="forms"))
        sums = [(generator.randrange(10), generator.randrange(10)) for _ in range(20)]
        rows.append(document(" ".join(f"{a} + {b} = {a + b}." for a, b in sums) + f" {n}", source="sums"))
        names = generator.choices("abcxyz", k=5)
        body = "\n".join(f"def {name}(x):\n    return x[{n}] * {name}(x)" for name in names)
        rows.append(document(body, source="python", media="code", code=[[0, 9]]))
        rows.append(document(f"{GERMAN} {GERMAN} {n}", source="german" if n % 2 else "unlabelled", language="de"))
    return rows


def config(**quality: object) -> Config:
    good = {"positive": ["wikipedia"], "negative": ["forms"], "threshold": 0.5, "buckets": ["general", "multilingual"]}
    bucket = {"general": ["wikipedia", "forms", "german"], "math": ["sums"], "code": ["python"], "english": 0.5}
    return Config(Classify.model_validate({"features": FEATURES, "quality": good | quality, "bucket": bucket}))


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


def test_a_document_has_no_say_in_its_own_score() -> None:
    rows = corpus(20)
    matrix = classifier.features(rows, FEATURES)
    labels: list[str | None] = [{"wikipedia": "yes", "forms": "no"}.get(row["source"]) for row in rows]
    _, before = classifier.cross_fit(matrix, rows, labels, FEATURES)
    changed = next(n for n, label in enumerate(labels) if label == "yes")
    labels[changed] = "no"
    _, after = classifier.cross_fit(matrix, rows, labels, FEATURES)
    assert np.array_equal(before[changed], after[changed])
    assert not np.array_equal(before, after)


def test_auc_equals_the_reference() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(500) < 0.3
    scores = (generator.random(500) + 0.3 * positive).round(2)
    assert classifier.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-6)
    assert classifier.auc(scores, np.ones(500, bool)) is None


def test_a_class_without_examples_is_an_error_with_its_name() -> None:
    rows = corpus(5)
    matrix = classifier.features(rows, FEATURES)
    with pytest.raises(StageError, match="too few documents labelled yes"):
        classifier.cross_fit(matrix, rows, ["yes" if n == 0 else None for n in range(len(rows))], FEATURES)


def test_languages() -> None:
    texts = [PROSE, GERMAN, "東京は日本の首都であり、多くの人々が暮らしている。", "x = 1"]
    rows = [document(text) for text in texts[:3]] + [document(texts[3], media="code", code=[[0, 0]])]
    found = language.identify(rows, 500)
    assert [code for code, _ in found] == ["en", "de", "ja", language.UNKNOWN]
    assert all(score > 0.8 for _, score in found[:3]) and found[3][1] == 0
