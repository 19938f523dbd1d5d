"""fastText's classifier (paper 3.1.1): the mean of the embeddings of hashed n-grams, and a linear layer; torch's
EmbeddingBag is that model. Cross-fitted: no model scores what it was trained on.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import xxhash
from pydantic import Field

from stages.curation.documents import Document
from stages.interface import Context, Section, StageError

TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
"""Words, numbers and single signs: formulas and code are told from prose by the latter two."""
BATCH = 16


class Features(Section):
    """What a classifier sees, and how it learns (3.1.1 names fastText; the values are not given there)."""

    characters: Annotated[int, Field(ge=100)]
    """Characters of a document that are looked at (assumption)."""

    ngrams: Annotated[int, Field(ge=1, le=3)]
    """Longest n-gram of tokens (assumption; fastText's usual value is 2)."""

    hash_bits: Annotated[int, Field(ge=8, le=24)]
    """Binary logarithm of the number of hashed features (assumption; fastText: 2 million)."""

    dimension: Annotated[int, Field(ge=2)]
    """Length of an embedding (assumption; fastText's default is 100)."""

    rate: Annotated[float, Field(gt=0)]
    """Learning rate per document, which falls linearly to 0 (fastText's default: 0.1 for classification)."""

    epochs: Annotated[int, Field(ge=1)]
    """Passes over the labelled documents (fastText's default: 5)."""

    folds: Annotated[int, Field(ge=2)]
    """Models trained, each on all folds but one, which it scores (assumption)."""

    sample: Annotated[int, Field(ge=10)]
    """About as many documents of the corpus, drawn by a hash of their ids, are looked at for training (assumption)."""


class Labelled(NamedTuple):
    """A document to train on."""

    id: str
    source: str
    label: str
    features: np.ndarray


class Model(NamedTuple):
    """One cross-fitted classifier: a network for each fold."""

    classes: list[str]
    embeddings: list[np.ndarray]
    """Of each fold, [2^hash_bits, dimension]."""
    weights: list[np.ndarray]
    """Of each fold, [classes, dimension]."""
    biases: list[np.ndarray]

    def probabilities(self, name: str, features: np.ndarray) -> np.ndarray:
        """[classes] of the document with this id, by the network that was not trained on it."""
        number = fold(name, len(self.weights))
        mean = self.embeddings[number][features].mean(axis=0) if len(features) else 0 * self.weights[number][0]
        logits = self.weights[number].astype(np.float64) @ mean + self.biases[number]
        exponents = np.exp(logits - logits.max())
        # Six digits: the last bits of a float differ between processors.
        result: np.ndarray = (exponents / exponents.sum()).round(6)
        return result


def features(document: Document, options: Features) -> np.ndarray:
    """[n-grams] hashed features of a document, from 1 to 2^hash_bits - 1."""
    tokens = TOKEN.findall(document["text"][: options.characters].lower())
    words = np.fromiter(map(_key, tokens), np.uint64, len(tokens))
    found, keys = [words], words
    for n in range(1, options.ngrams):
        keys = (keys[:-1] if n > 1 else words[:-1]) * np.uint64(0x9E3779B97F4A7C15) ^ words[n:]
        found.append(keys ^ (keys >> np.uint64(29)))
    hashed = np.concatenate(found) * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(64 - options.hash_bits)
    return hashed.astype(np.int32)


@lru_cache(1 << 17)  # most words of a document were in others
def _key(token: str) -> int:
    return xxhash.xxh32_intdigest(token.encode())


def fold(name: str, folds: int) -> int:
    """The fold of the document with this id."""
    return xxhash.xxh32_intdigest(name.encode()) % folds


def sampled(name: str, sample: int, documents: int) -> bool:
    """Whether the document with this id is among the about `sample` of so many that are looked at."""
    return xxhash.xxh64_intdigest(name.encode(), 1) * documents < sample << 64


class Fold(NamedTuple):
    """A network to train."""

    rows: list[Labelled]
    classes: list[str]
    options: Features


def cross_fit(examples: Mapping[str, Sequence[Labelled]], options: Features, context: Context) -> dict[str, Model]:
    """Trains for each classifier, by its name, a network per fold on its labelled documents of the other folds, which
    come in any order.

    Within a class each source weighs by the root of its size, so that one large source does not stand for the class;
    classes weigh alike. Raises StageError when a training set has fewer than two classes or lacks one.
    """
    models = {name: Model(sorted({row.label for row in rows}), [], [], []) for name, rows in examples.items()}
    work = []
    for name, model in models.items():
        rows = sorted(examples[name], key=lambda row: row.id)
        for number in range(options.folds):
            train = [row for row in rows if fold(row.id, options.folds) != number]
            missing = sorted(set(model.classes) - {row.label for row in train})
            if missing or len(model.classes) < 2:
                raise StageError(
                    f"curation: too few documents labelled {' or '.join(missing or model.classes)} to train "
                    f"{name} on; give the sources of each label more pages, or change the labels"
                )
            work.append(Fold(train, model.classes, options))
    trained = iter(context.map("train", _train, work, kind="process"))
    for model in models.values():
        for _ in range(options.folds):
            for part, value in zip(model[1:], next(trained), strict=True):
                part.append(value)
    return models


def _train(work: Fold) -> tuple[np.ndarray, ...]:
    rows, classes, options = work
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    bag = nn.EmbeddingBag(1 << options.hash_bits, options.dimension, mode="mean", sparse=True)
    linear = nn.Linear(options.dimension, len(classes))
    with torch.no_grad():  # as fastText starts
        bag.weight.uniform_(-1 / options.dimension, 1 / options.dimension, generator=generator)
        linear.weight.zero_()
        linear.bias.zero_()
    targets = torch.tensor([classes.index(row.label) for row in rows])
    sources = Counter((row.label, row.source) for row in rows)
    weights = torch.tensor([sources[row.label, row.source] ** -0.5 for row in rows])
    for label in range(len(classes)):
        weights[targets == label] *= len(rows) / len(classes) / weights[targets == label].sum()
    # Plain descent, as in fastText: of the embeddings only those that occurred are touched.
    optimizer = torch.optim.SGD([*bag.parameters(), *linear.parameters()], lr=options.rate * BATCH)
    steps = options.epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(options.epochs):
        for chosen in torch.randperm(len(rows), generator=generator).split(BATCH):
            parts = [rows[row].features for row in chosen.tolist()]
            offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
            logits = linear(bag(torch.from_numpy(np.concatenate(parts)), torch.from_numpy(offsets)))
            losses = nn.functional.cross_entropy(logits, targets[chosen], reduction="none")
            optimizer.zero_grad()
            (losses * weights[chosen]).mean().backward()
            optimizer.step()
            schedule.step()
    return bag.weight.detach().numpy(), linear.weight.detach().numpy(), linear.bias.detach().numpy()


def label_of(source: str, sources: Mapping[Any, Sequence[str]]) -> str | None:
    """The label under which a document's source is listed, else None: weak labels, right for most of a source."""
    return next((label for label, listed in sources.items() if source in listed), None)


def auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve: how often a positive outranks a negative; None where one of them is missing."""
    from scipy.stats import rankdata

    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return round(float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)), 6)


def roc(scores: np.ndarray, positive: np.ndarray, points: int = 20) -> list[dict[str, float]]:
    """The ROC curve at evenly spaced false positive rates; empty where a class is missing."""
    if not positive.any() or positive.all():
        return []
    falls = np.sort(scores[~positive])[::-1]
    curve = []
    for point in range(points + 1):
        allowed = round(point / points * (len(falls) - 1))
        curve.append(
            {
                "false_positive_rate": round((allowed + 1) / len(falls), 4),
                "true_positive_rate": round(float((scores[positive] >= falls[allowed]).mean()), 4),
            }
        )
    return curve
