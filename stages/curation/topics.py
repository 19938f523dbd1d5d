"""Knowledge classification (paper 3.1.2): classifies general pages by topic, and down-samples topics that are too
frequent on the web, such as arts and entertainment.

Each topic has a list of words. Pages with many words of one topic and few of others are the training examples (a served
judge labels them instead, if there is one). Accuracy is measured on pages whose URL names their section, which are not
used for training, and on training examples of other folds.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import xxhash
from pydantic import Field, model_validator

from stages import statistics
from stages.curation import documents
from stages.curation.classification import classifier, judge, labels
from stages.curation.classification.classifier import Features, LabelledDocument, Model
from stages.curation.documents import CLASSIFIED, Document, FilterStats, Removal
from stages.interface import Context, Metrics, Paths, Section

STEPS = ("topic",)
OTHER = "other"
"""No topic: pages without words of any topic, and pages with a low probability."""
WORD = re.compile(r"[^\W\d_]+")
QUESTION = "What is the following page mostly about? Answer with one word of these: {topics}."


class Topics(Section):
    """Topics of the general bucket, and limits on their shares."""

    words: dict[str, list[str]]
    """Topic -> its words (assumption; paper 3.1.2 names a knowledge classifier, not its classes)."""

    sections: dict[str, list[str]]
    """Topic -> names of its section in URLs, used to measure accuracy (assumption)."""

    hits: Annotated[int, Field(ge=1)]
    """Minimum occurrences of a topic's words in a training example... (assumption)"""

    lead: Annotated[float, Field(ge=1)]
    """... and minimum ratio to the occurrences of any other topic (assumption)."""

    examples: Annotated[int, Field(ge=1)]
    """Topics with fewer examples are omitted (assumption)."""

    sure: Annotated[float, Field(gt=0, le=1)]
    """Minimum probability of a topic (assumption)."""

    most: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    """Topic -> maximum share of the bytes of all pages with a topic; above it, pages are dropped at random (assumption;
    3.1.2 names arts and entertainment and gives no share)."""

    features: Features

    @model_validator(mode="after")
    def _topics_are_known(self) -> "Topics":
        if unknown := sorted({*self.most, *self.sections} - set(self.words)):
            raise ValueError(f"{', '.join(unknown)}: no words are given for this topic")
        if sum(self.most.values()) >= 1:
            raise ValueError("most: the shares leave nothing for the other topics")
        return self


@dataclass(frozen=True)
class Config:
    topics: Annotated[Topics, "curation.topics"]
    judge: Annotated[judge.Judge, "curation.classify.judge"]


class ExampleShard(NamedTuple):
    """One document file to collect training examples from."""

    source: Path
    num_documents: int
    """Documents in all files."""
    config: Config


class Shard(NamedTuple):
    """One document file to classify, and its output file."""

    source: Path
    output: Path
    model: Model | None
    config: Config


class TopicCounts(NamedTuple):
    """Bytes by topic, and counts of (true, predicted) topics: true by the section in the URL, and by words."""

    sizes: Counter[str]
    by_section: Counter[tuple[str, str]]
    by_words: Counter[tuple[str, str]]
    by_hand: Counter[tuple[str, str]]
    """True by the labels of `labels.yaml`."""


class Downsampling(NamedTuple):
    """One classified file, and the share of each topic's pages to keep."""

    path: Path
    keep_shares: Mapping[str, float]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file: collects examples, classifies, down-samples."""
    files = documents.document_files(inputs["documents"])
    num_documents = sum(pq.read_metadata(file).num_rows for file in files)
    example_shards = [ExampleShard(file, num_documents, config) for file in files]
    parts = context.map("examples", collect_examples, example_shards, kind="process")
    labelled = [example for part in parts for example in part]
    examples = Counter(example.label for example in labelled)
    topics = sorted(topic for topic in examples if examples[topic] >= config.topics.examples)
    model = None
    if len(topics) > 1:
        training = {"topics": [example for example in labelled if example.label in topics]}
        model = classifier.cross_fit(training, config.topics.features, context)["topics"]
    else:
        context.note(f"no topics: fewer than two have {config.topics.examples} examples")
    work = [Shard(file, outputs["documents"] / file.name, model, config) for file in files]
    counts = TopicCounts(Counter(), Counter(), Counter(), Counter())
    for part in context.map("topics", classify_shard, work, kind="process"):
        counts.sizes.update(part.sizes)
        counts.by_section.update(part.by_section)
        counts.by_words.update(part.by_words)
        counts.by_hand.update(part.by_hand)
    sizes = counts.sizes
    keep_shares = compute_keep_shares(sizes, config.topics.most)
    stats, after = FilterStats(), Counter[str]()
    downsampling = [Downsampling(shard.output, keep_shares) for shard in work]
    for shard_stats, kept_bytes in context.map("thin", downsample_shard, downsampling, kind="process"):
        stats.merge(shard_stats)
        after.update(kept_bytes)
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "examples": dict(sorted(examples.items())),
        "bytes": {topic: {"before": sizes[topic], "after": after[topic]} for topic in sorted(sizes)},
        "stays": keep_shares,
        "by_section": _accuracy(counts.by_section),
        "by_words": _accuracy(counts.by_words),
        "labelled": labels.measure_topic(counts.by_hand),
    }


def collect_examples(work: ExampleShard) -> list[LabelledDocument]:
    """The training examples of one file."""
    config = work.config
    sample = [
        document
        for document in documents.read_documents(work.source)
        if is_general(document)
        and not labels.is_labelled(document)
        and topic_of_section(document["url"], config.topics) is None
        and classifier.is_sampled(document["id"], config.topics.features.sample, work.num_documents)
    ]
    if config.judge.kind == "rules":
        found = [topic_by_words(document["text"], config.topics) for document in sample]
    else:
        names = [*config.topics.words, OTHER]
        found = [*judge.ask_endpoint(sample, QUESTION.format(topics=", ".join(names)), names, config.judge)]
    examples = [
        LabelledDocument(
            document["id"], document["source"], topic, classifier.features(document, config.topics.features)
        )
        for document, topic in zip(sample, found, strict=True)
        if topic is not None
    ]
    return [example for example in examples if len(example.features)]


def classify_shard(shard: Shard) -> TopicCounts:
    """Assigns topics to the general documents of one file."""
    options = shard.config.topics
    rows = documents.read_documents(shard.source)
    counts = TopicCounts(Counter(), Counter(), Counter(), Counter())
    for document in rows:
        if not is_general(document) or shard.model is None:
            continue
        features = classifier.features(document, options.features)
        probabilities = shard.model.predict_proba(document["id"], features)
        best = int(probabilities.argmax())
        document["topic"] = shard.model.classes[best] if probabilities[best] >= options.sure else OTHER
        counts.sizes[document["topic"]] += documents.num_bytes(document["text"])
        label = labels.load_labels().get(document["url"])
        if label is not None and label.topic is not None and not document["planted_from"]:
            counts.by_hand[label.topic, document["topic"]] += 1
        true = topic_of_section(document["url"], options)
        if true in shard.model.classes:
            counts.by_section[true, document["topic"]] += 1
        elif (true := topic_by_words(document["text"], options)) in shard.model.classes:
            counts.by_words[true, document["topic"]] += 1
    documents.write_documents(shard.output, rows, CLASSIFIED)
    return counts


def downsample_shard(work: Downsampling) -> tuple[FilterStats, Counter[str]]:
    """Drops pages of too too_large topics, in place. Returns statistics and the kept bytes by topic."""
    stats = FilterStats()

    def rule(document: Document) -> Removal | None:
        uniform = xxhash.xxh64_intdigest(document["id"].encode(), 2) / 2**64
        return (
            Removal("topic", "too much of its topic")
            if uniform >= work.keep_shares.get(document["topic"], 1.0)
            else None
        )

    kept = list(documents.filter_documents(documents.read_documents(work.path), rule, stats))
    documents.write_documents(work.path, kept, CLASSIFIED)
    kept_bytes = Counter[str]()
    for document in kept:
        if document["topic"]:
            kept_bytes[document["topic"]] += documents.num_bytes(document["text"])
    return stats, kept_bytes


def is_general(document: Document) -> bool:
    """Whether a document is English general text from the web: the words of the topics are English, and the pages of
    generated tasks have their own numbers (`curation.acquire.generated`)."""
    return bool(document["bucket"] == "general") and not documents.is_generated(document["source"])


def topic_by_words(text: str, options: Topics) -> str | None:
    """The topic that a text is an example of; OTHER if it has no words of any topic; otherwise None."""
    words = Counter(WORD.findall(text.lower()))
    hits = sorted((sum(words[word] for word in topic_words), topic) for topic, topic_words in options.words.items())
    (second, _), (first, topic) = hits[-2:]
    if first == 0:
        return OTHER
    return topic if first >= options.hits and first >= options.lead * second else None


def topic_of_section(url: str, options: Topics) -> str | None:
    """The topic whose section the URL names, or None."""
    try:
        parts = {part.lower() for part in urlsplit(url).path.split("/")[:-1]}
    except ValueError:
        return None
    return next((topic for topic, names in options.sections.items() if not parts.isdisjoint(names)), None)


def compute_keep_shares(sizes: Mapping[str, int], max_shares: Mapping[str, float]) -> dict[str, float]:
    """Topic above its maximum share -> share of its pages to keep; sizes in bytes.

    The limits are shares of the bytes after down-sampling: if one topic shrinks, another may exceed its limit.
    """
    sizes = {topic: size for topic, size in sizes.items() if topic != OTHER}
    total, too_large = float(sum(sizes.values())), set[str]()
    while more := {topic for topic, share in max_shares.items() if sizes.get(topic, 0) > share * total} - too_large:
        too_large |= more
        other_bytes = sum(size for topic, size in sizes.items() if topic not in too_large)
        total = other_bytes / (1 - sum(max_shares[topic] for topic in too_large))
    return {topic: round(max_shares[topic] * total / sizes[topic], 6) for topic in sorted(too_large)}


def _accuracy(pairs: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Accuracy and confusion matrix from counts of (true, predicted) topics."""
    total = sum(pairs.values())
    num_right = sum(count for (true, predicted), count in pairs.items() if true == predicted)
    confusion: dict[str, dict[str, int]] = {}
    for (true, predicted), count in sorted(pairs.items()):
        confusion.setdefault(true, {})[predicted] = count
    return {"accuracy": statistics.proportion(num_right, total) if total else None, "confusion": confusion}
