"""The linear classifier: folds, weights, sampling, AUC."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from stages.curation.classification import classifier
from stages.curation.classification.classifier import LabelledDocument
from stages.curation.documents import Document
from stages.interface import StageError
from tests.curation.labelled import FEATURES, corpus
from tests.curation.samples import document
from tests.recorder import Recorder


def labelled(rows: list[Document], labels: dict[str, str]) -> list[LabelledDocument]:
    found = []
    for row in rows:
        if label := labels.get(row["source"]):
            found.append(LabelledDocument(row["id"], row["source"], label, classifier.features(row, FEATURES)))
    return found


def fitted(rows: list[LabelledDocument]) -> classifier.Model:
    return classifier.cross_fit({"quality": rows}, FEATURES, Recorder(Path()))["quality"]


def test_a_document_has_no_say_in_its_own_score() -> None:
    rows = labelled(corpus(20), {"wikipedia": "yes", "forms": "no"})
    before = fitted(rows)
    changed = [row._replace(label="no") if n == 0 else row for n, row in enumerate(rows)]
    after = fitted(changed)

    def scores(model: classifier.Model) -> list[list[float]]:
        return [model.predict_proba(row.id, row.features).tolist() for row in rows]

    assert scores(before)[0] == scores(after)[0]
    assert scores(before) != scores(after)
    assert scores(fitted(rows[::-1])) == scores(before)


def test_the_network_is_that_of_torch() -> None:
    rows = labelled(corpus(10), {"wikipedia": "yes", "forms": "no"})
    model = fitted(rows)
    row = rows[3]
    number = classifier.fold_of(row.id, FEATURES.folds)
    bag = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(model.embeddings[number]), mode="mean")
    logits = torch.nn.functional.linear(
        bag(torch.from_numpy(row.features)[None]),
        torch.from_numpy(model.weights[number]),
        torch.from_numpy(model.biases[number]),
    )
    assert model.predict_proba(row.id, row.features) == pytest.approx(logits.softmax(-1)[0].numpy(), abs=2e-6)


def test_about_as_many_are_sampled_as_asked_for() -> None:
    names = [document(str(n))["id"] for n in range(2000)]
    assert 440 < sum(classifier.is_sampled(name, 500, 2000) for name in names) < 560
    assert all(classifier.is_sampled(name, 2000, 2000) for name in names)


def test_auc_equals_the_reference() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(500) < 0.3
    scores = (generator.random(500) + 0.3 * positive).round(2)
    assert classifier.roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-6)
    assert classifier.roc_auc(scores, np.ones(500, bool)) is None


def test_the_curve_rises_from_left_to_right() -> None:
    scores, positive = np.array([0.9, 0.8, 0.7, 0.3, 0.2]), np.array([True, False, True, False, False])
    curve = classifier.roc_curve(scores, positive, 2)
    assert [point["true_positive_rate"] for point in curve] == [0.5, 1.0, 1.0]
    assert [point["false_positive_rate"] for point in curve] == [0.3333, 0.6667, 1.0]
    assert classifier.roc_curve(scores, np.ones(5, bool)) == []


def test_a_class_without_examples_is_an_error_with_its_name() -> None:
    rows = labelled(corpus(5), {"wikipedia": "yes"})
    with pytest.raises(StageError, match="too few documents labelled yes to train quality on"):
        fitted(rows)
