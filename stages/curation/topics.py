"""Knowledge classification (paper 3.1.2): which topic a general page is about, so that topics the web has too much of,
such as arts and entertainment, can be taken down to a share.

A few words stand for each topic: pages that have many of one topic's and few of another's are the examples from which a
classifier learns the rest (a served judge gives the labels instead, where there is one). How right it is, is measured
on pages whose address names their section, none of which it learns from, and on examples that it has not seen.
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
from stages.curation.classification import classifier, judge
from stages.curation.classification.classifier import Features, LabelledDocument, Model
from stages.curation.documents import CLASSIFIED, Document, FilterStats, Removal
from stages.interface import Context, Metrics, Paths, Section

STEPS = ("topic",)
OTHER = "other"
"""No topic: pages without any of the words, and those of which the classifier is not sure."""
WORD = re.compile(r"[^\W\d_]+")
QUESTION = "What is the following page mostly about? Answer with one word of these: {topics}."


class Topics(Section):
    """Topics of the general bucket, and how much of it one may be."""

    words: dict[str, list[str]]
    """Topic -> words that stand for it (assumption; paper 3.1.2 names a knowledge classifier, not its classes)."""

    sections: dict[str, list[str]]
    """Topic -> names of its section in the address of a page: what the classifier is held against (assumption)."""

    hits: Annotated[int, Field(ge=1)]
    """Occurrences of a topic's words that make a page an example of it... (assumption)"""

    lead: Annotated[float, Field(ge=1)]
    """... if they are this many times those of any other topic (assumption)."""

    examples: Annotated[int, Field(ge=1)]
    """Topics with fewer examples are left out (assumption)."""

    sure: Annotated[float, Field(gt=0, le=1)]
    """Least probability to give a page a topic (assumption)."""

    most: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    """Topic -> largest share of the bytes of all pages that have a topic; of a topic with more, pages are dropped at
    random (assumption; 3.1.2 names arts and entertainment and gives no share)."""

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


class Gathering(NamedTuple):
    """One document file to take examples from."""

    source: Path
    documents: int
    """In all files."""
    config: Config


class Shard(NamedTuple):
    """One document file to sort, and the one to write."""

    source: Path
    output: Path
    model: Model | None
    config: Config


class Sorted(NamedTuple):
    """Bytes by topic in one file, and pairs of a true topic and the one given: true by the address, and by words."""

    sizes: Counter[str]
    by_section: Counter[tuple[str, str]]
    by_words: Counter[tuple[str, str]]


class Thinning(NamedTuple):
    """One sorted file, and which share of each topic's pages stays."""

    path: Path
    stays: Mapping[str, float]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file: examples, topics, thinning."""
    files = documents.document_files(inputs["documents"])
    number = sum(pq.read_metadata(file).num_rows for file in files)
    gathering = [Gathering(file, number, config) for file in files]
    rows = [row for part in context.map("examples", gather, gathering, kind="process") for row in part]
    examples = Counter(row.label for row in rows)
    learnt = sorted(topic for topic in examples if examples[topic] >= config.topics.examples)
    model = None
    if len(learnt) > 1:
        learning = {"topics": [row for row in rows if row.label in learnt]}
        model = classifier.cross_fit(learning, config.topics.features, context)["topics"]
    else:
        context.note(f"no topics: fewer than two have {config.topics.examples} examples")
    work = [Shard(file, outputs["documents"] / file.name, model, config) for file in files]
    found = Sorted(Counter(), Counter(), Counter())
    for part in context.map("topics", sort_shard, work, kind="process"):
        found.sizes.update(part.sizes)
        found.by_section.update(part.by_section)
        found.by_words.update(part.by_words)
    sizes = found.sizes
    stays = thinned(sizes, config.topics.most)
    stats, after = FilterStats(), Counter[str]()
    for one, left in context.map("thin", thin_shard, [Thinning(s.output, stays) for s in work], kind="process"):
        stats.merge(one)
        after.update(left)
    stats.write(outputs["documents"])
    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "examples": dict(sorted(examples.items())),
        "bytes": {topic: {"before": sizes[topic], "after": after[topic]} for topic in sorted(sizes)},
        "stays": stays,
        "by_section": _agreement(found.by_section),
        "by_words": _agreement(found.by_words),
    }


def gather(work: Gathering) -> list[LabelledDocument]:
    """The examples of one file."""
    config = work.config
    rows = [
        document
        for document in documents.read_documents(work.source)
        if is_general(document)
        and section(document["url"], config.topics) is None
        and classifier.is_sampled(document["id"], config.topics.features.sample, work.documents)
    ]
    if config.judge.kind == "rules":
        labels = [label(document["text"], config.topics) for document in rows]
    else:
        names = [*config.topics.words, OTHER]
        labels = [*judge.ask_endpoint(rows, QUESTION.format(topics=", ".join(names)), names, config.judge)]
    found = [
        LabelledDocument(row["id"], row["source"], topic, classifier.features(row, config.topics.features))
        for row, topic in zip(rows, labels, strict=True)
        if topic is not None
    ]
    return [example for example in found if len(example.features)]


def sort_shard(shard: Shard) -> Sorted:
    """Gives the general documents of one file their topics."""
    options = shard.config.topics
    rows = documents.read_documents(shard.source)
    found = Sorted(Counter(), Counter(), Counter())
    for document in rows:
        if not is_general(document) or shard.model is None:
            continue
        chances = shard.model.predict_proba(document["id"], classifier.features(document, shard.config.topics.features))
        best = int(chances.argmax())
        document["topic"] = shard.model.classes[best] if chances[best] >= options.sure else OTHER
        found.sizes[document["topic"]] += documents.num_bytes(document["text"])
        true = section(document["url"], options)
        if true in shard.model.classes:
            found.by_section[true, document["topic"]] += 1
        elif (words := label(document["text"], options)) in shard.model.classes:
            found.by_words[words, document["topic"]] += 1
    documents.write_documents(shard.output, rows, CLASSIFIED)
    return found


def thin_shard(work: Thinning) -> tuple[FilterStats, Counter[str]]:
    """Drops pages of the topics that are too large, in place; also the bytes by topic of what stays."""
    stats = FilterStats()

    def judge(document: Document) -> Removal | None:
        chance = xxhash.xxh64_intdigest(document["id"].encode(), 2) / 2**64
        return Removal("topic", "too much of its topic") if chance >= work.stays.get(document["topic"], 1.0) else None

    kept = list(documents.filter_documents(documents.read_documents(work.path), judge, stats))
    documents.write_documents(work.path, kept, CLASSIFIED)
    left = Counter[str]()
    for document in kept:
        if document["topic"]:
            left[document["topic"]] += documents.num_bytes(document["text"])
    return stats, left


def is_general(document: Document) -> bool:
    """English general text: the words of the topics are English."""
    return bool(document["bucket"] == "general")


def label(text: str, options: Topics) -> str | None:
    """The topic a text is an example of, OTHER where it has no topic's words, None where it is neither."""
    words = Counter(WORD.findall(text.lower()))
    hits = sorted((sum(words[word] for word in listed), topic) for topic, listed in options.words.items())
    (second, _), (first, topic) = hits[-2:]
    if first == 0:
        return OTHER
    return topic if first >= options.hits and first >= options.lead * second else None


def section(url: str, options: Topics) -> str | None:
    """The topic that the address of a page names as its section, or None."""
    try:
        parts = {part.lower() for part in urlsplit(url).path.split("/")[:-1]}
    except ValueError:
        return None
    return next((topic for topic, names in options.sections.items() if not parts.isdisjoint(names)), None)


def thinned(sizes: Mapping[str, int], most: Mapping[str, float]) -> dict[str, float]:
    """Share of the pages of each topic that is too large which stays; sizes in bytes.

    The limits are shares of what is left: with one topic thinned the others weigh more, and another may be above its
    limit in turn.
    """
    sizes = {topic: size for topic, size in sizes.items() if topic != OTHER}
    total, large = float(sum(sizes.values())), set[str]()
    while more := {topic for topic, share in most.items() if sizes.get(topic, 0) > share * total} - large:
        large |= more
        rest = sum(size for topic, size in sizes.items() if topic not in large)
        total = rest / (1 - sum(most[topic] for topic in large))
    return {topic: round(most[topic] * total / sizes[topic], 6) for topic in sorted(large)}


def _agreement(pairs: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """How often the topic given is the true one, and which was given instead."""
    total = sum(pairs.values())
    right = sum(count for (true, given), count in pairs.items() if true == given)
    confusion: dict[str, dict[str, int]] = {}
    for (true, given), count in sorted(pairs.items()):
        confusion.setdefault(true, {})[given] = count
    return {"accuracy": statistics.proportion(right, total) if total else None, "confusion": confusion}
