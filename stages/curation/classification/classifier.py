"""fastText's classifier (paper 3.1.1): the mean of embeddings of hashed n-grams (torch's EmbeddingBag), a linear layer.
It is cross-fitted: no network scores a document that it was trained on.
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
"""Words, numbers and single signs; numbers and signs separate formulas and code from prose."""
BATCH = 16
MIN_STEPS = 300
"""Fewest updates of a network: small corpora get more epochs, or rare classes are never predicted (assumption)."""


class Features(Section):
    """Features and training of a classifier (3.1.1 names fastText and gives no values)."""

    characters: Annotated[int, Field(ge=100)]
    """Characters of a document that are used (assumption)."""

    ngrams: Annotated[int, Field(ge=1, le=3)]
    """Longest n-gram of tokens (assumption; fastText's usual value is 2)."""

    hash_bits: Annotated[int, Field(ge=8, le=24)]
    """Binary logarithm of the number of hashed features (assumption; fastText: 2 million)."""

    dimension: Annotated[int, Field(ge=2)]
    """Length of an embedding (assumption; fastText's default is 100)."""

    rate: Annotated[float, Field(gt=0)]
    """Learning rate per document, which falls linearly to 0 (fastText's default: 0.1 for classification)."""

    epochs: Annotated[int, Field(ge=1)]
    """Passes over the labelled documents, more if these are fewer than MIN_STEPS updates (fastText's default: 5)."""

    folds: Annotated[int, Field(ge=2)]
    """Networks trained; each is trained on all folds but one, which it scores (assumption)."""

    sample: Annotated[int, Field(ge=10)]
    """Approximate number of documents sampled for training by a hash of their ids (assumption)."""


class LabelledDocument(NamedTuple):
    """A training example."""

    id: str
    source: str
    label: str
    features: np.ndarray


class Model(NamedTuple):
    """A cross-fitted classifier: one network per fold."""

    classes: list[str]
    embeddings: list[np.ndarray]
    """[2^hash_bits, dimension] per fold."""
    weights: list[np.ndarray]
    """[classes, dimension] per fold."""
    biases: list[np.ndarray]

    def predict_proba(self, id: str, features: np.ndarray) -> np.ndarray:
        """[classes] probabilities of the document, from the network that was not trained on it."""
        number = fold_of(id, len(self.weights))
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
    ngrams, keys = [words], words
    for n in range(1, options.ngrams):
        keys = (keys[:-1] if n > 1 else words[:-1]) * np.uint64(0x9E3779B97F4A7C15) ^ words[n:]
        ngrams.append(keys ^ (keys >> np.uint64(29)))
    hashed = np.concatenate(ngrams) * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(64 - options.hash_bits)
    return hashed.astype(np.int32)


@lru_cache(1 << 17)  # most words occurred before
def _key(token: str) -> int:
    return xxhash.xxh32_intdigest(token.encode())


def fold_of(id: str, folds: int) -> int:
    """The fold of a document."""
    return xxhash.xxh32_intdigest(id.encode()) % folds


def is_sampled(id: str, sample: int, num_documents: int) -> bool:
    """Whether a document is in the random sample of about `sample` out of `num_documents`."""
    return xxhash.xxh64_intdigest(id.encode(), 1) * num_documents < sample << 64


class FoldTraining(NamedTuple):
    """One network to train."""

    examples: list[LabelledDocument]
    classes: list[str]
    options: Features


def cross_fit(
    examples: Mapping[str, Sequence[LabelledDocument]], options: Features, context: Context
) -> dict[str, Model]:
    """Trains each classifier, one network per fold, on the labelled documents of the other folds.

    Within a class a source has the weight of the square root of its size, so that no large source dominates; classes
    have equal weights. Raises StageError if a training set has fewer than two classes or lacks one.
    """
    models = {
        name: Model(sorted({example.label for example in labelled}), [], [], []) for name, labelled in examples.items()
    }
    work = []
    for name, model in models.items():
        labelled = sorted(examples[name], key=lambda example: example.id)
        for number in range(options.folds):
            train = [example for example in labelled if fold_of(example.id, options.folds) != number]
            missing = sorted(set(model.classes) - {example.label for example in train})
            if missing or len(model.classes) < 2:
                raise StageError(
                    f"curation: too few documents labelled {' or '.join(missing or model.classes)} to train "
                    f"{name} on; give the sources of each label more pages, or change the labels"
                )
            work.append(FoldTraining(train, model.classes, options))
    trained = iter(context.map("train", _train_fold, work, kind="process"))
    for model in models.values():
        for _ in range(options.folds):
            for part, value in zip(model[1:], next(trained), strict=True):
                part.append(value)
    return models


def _train_fold(work: FoldTraining) -> tuple[np.ndarray, ...]:
    examples, classes, options = work
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    bag = nn.EmbeddingBag(1 << options.hash_bits, options.dimension, mode="mean", sparse=True)
    linear = nn.Linear(options.dimension, len(classes))
    with torch.no_grad():  # fastText's initialization
        bag.weight.uniform_(-1 / options.dimension, 1 / options.dimension, generator=generator)
        linear.weight.zero_()
        linear.bias.zero_()
    targets = torch.tensor([classes.index(example.label) for example in examples])
    sources = Counter((example.label, example.source) for example in examples)
    weights = torch.tensor([sources[example.label, example.source] ** -0.5 for example in examples])
    for label in range(len(classes)):
        weights[targets == label] *= len(examples) / len(classes) / weights[targets == label].sum()
    # Plain SGD, as in fastText: it updates only embeddings that occur in the batch.
    optimizer = torch.optim.SGD([*bag.parameters(), *linear.parameters()], lr=options.rate * BATCH)
    steps_per_epoch = -(-len(examples) // BATCH)
    epochs = max(options.epochs, -(-MIN_STEPS // steps_per_epoch))
    steps = epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(examples), generator=generator).split(BATCH):
            features = [examples[index].features for index in batch.tolist()]
            offsets = np.cumsum([0, *(len(part) for part in features[:-1])])
            logits = linear(bag(torch.from_numpy(np.concatenate(features)), torch.from_numpy(offsets)))
            losses = nn.functional.cross_entropy(logits, targets[batch], reduction="none")
            optimizer.zero_grad()
            (losses * weights[batch]).mean().backward()
            optimizer.step()
            schedule.step()
    return bag.weight.detach().numpy(), linear.weight.detach().numpy(), linear.bias.detach().numpy()


def weak_label(source: str, sources: Mapping[Any, Sequence[str]]) -> str | None:
    """The label that lists the document's source, else None. It is right for most documents of a source."""
    return next((label for label, listed in sources.items() if source in listed), None)


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve; None if a class is missing."""
    from scipy.stats import rankdata

    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return round(float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)), 6)


def roc_curve(scores: np.ndarray, positive: np.ndarray, points: int = 20) -> list[dict[str, float]]:
    """The ROC curve at evenly spaced false positive rates; empty if a class is missing."""
    if not positive.any() or positive.all():
        return []
    negative_scores = np.sort(scores[~positive])[::-1]
    curve = []
    for point in range(points + 1):
        allowed = round(point / points * (len(negative_scores) - 1))
        curve.append(
            {
                "false_positive_rate": round((allowed + 1) / len(negative_scores), 4),
                "true_positive_rate": round(float((scores[positive] >= negative_scores[allowed]).mean()), 4),
            }
        )
    return curve
