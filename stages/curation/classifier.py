"""Linear classifiers on hashed n-grams, as fastText is one, cross-fitted: no model scores what it was trained on."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.curation.documents import Document
from stages.interface import Section, StageError

TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
"""Words, numbers and single signs: formulas and code are told from prose by the latter two."""


class Features(Section):
    """What a classifier sees, and how it learns (3.1.1 names fastText; the values are not given there)."""

    characters: Annotated[int, Field(ge=100)]
    """Characters of a document that are looked at (assumption)."""

    ngrams: Annotated[int, Field(ge=1, le=3)]
    """Longest n-gram of tokens (assumption; fastText's usual value is 2)."""

    hash_bits: Annotated[int, Field(ge=8, le=24)]
    """Binary logarithm of the number of hashed features (assumption)."""

    folds: Annotated[int, Field(ge=2)]
    """Models trained, each on all folds but one, which it scores (assumption)."""

    penalty: Annotated[float, Field(gt=0)]
    """Weight of the squared weights in the loss of the logistic regression (assumption)."""

    epochs: Annotated[int, Field(ge=1)]
    """Passes over the labelled documents (assumption; fastText's default is 5)."""


def features(documents: Sequence[Document], options: Features) -> Any:
    """[documents, 2^hash_bits] sparse matrix of n-gram counts, each row of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        tokenizer=TOKEN.findall,
        token_pattern=None,
        ngram_range=(1, options.ngrams),
        n_features=2**options.hash_bits,
        alternate_sign=False,
        dtype=np.float32,
    )
    return vectorizer.transform(document["text"][: options.characters] for document in documents)


def cross_fit(
    matrix: Any, documents: Sequence[Document], labels: Sequence[str | None], options: Features
) -> tuple[list[str], np.ndarray]:
    """The classes, sorted, and [documents, classes] probabilities.

    A document belongs to a fold by a hash of its id; the model that scores it was trained on the labelled documents
    (label not None) of the other folds. Within a class each source weighs by the root of its size, so that one large
    source does not stand for the class. Raises StageError when a training set lacks a class.
    """
    from sklearn.linear_model import SGDClassifier

    classes = sorted({label for label in labels if label is not None})
    ids = [document["id"] for document in documents]
    folds = np.array([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % options.folds for name in ids])
    sources = Counter(document["source"] for document in documents)
    weights = np.array([sources[document["source"]] ** -0.5 for document in documents])
    scores = np.zeros((len(ids), len(classes)))
    for fold in range(options.folds):
        train = [i for i, label in enumerate(labels) if label is not None and folds[i] != fold]
        score = np.flatnonzero(folds == fold)
        if not len(score):
            continue
        for column, name in enumerate(classes):
            target = np.array([labels[i] == name for i in train])
            if len(target) == 0 or target.all() or not target.any():
                raise StageError(
                    f"curation.classify: too few documents labelled {name} or labelled otherwise to train on; "
                    "give the sources of both labels more pages, or change the labels"
                )
            # Stochastic gradient descent, as in fastText: one thread, one order, so the same weights at each run.
            model = SGDClassifier(
                loss="log_loss", alpha=options.penalty, max_iter=options.epochs, tol=None, average=True,
                random_state=0,
            )  # fmt: skip
            weight = weights[train]
            weight = np.where(target, weight / weight[target].sum(), weight / weight[~target].sum()) * len(train) / 2
            model.fit(matrix[train], target, sample_weight=weight)
            scores[score, column] = model.predict_proba(matrix[score])[:, 1]
    return classes, scores


def labels_by_source(documents: Sequence[Document], sources: Mapping[str, Sequence[str]]) -> list[str | None]:
    """The label under which a document's source is listed, else None: weak labels, right for most of a source."""
    label = {source: name for name, listed in sources.items() for source in listed}
    return [label.get(document["source"]) for document in documents]


def auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve: how often a positive outranks a negative; None where one of them is missing."""
    from scipy.stats import rankdata

    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return round(float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)), 6)
