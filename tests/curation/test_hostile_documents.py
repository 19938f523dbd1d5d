"""What hostile pages leave, and texts as bad, pass every later stage of curation: each is kept or counted.

Each stage gets all of them, not only what the stages before would have left, beside pages that it can learn from.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.curation import classify, decontaminate, dedup, documents, heuristics, pii, topics
from stages.curation.documents import CLASSIFIED, Document
from stages.curation.extraction import html
from stages.interface import Metrics, Paths
from stages.tasks import held_out
from stages.tasks.example import Example
from stages.tasks.held_out import Evaluation
from tests.curation.samples import PROSE, document, fresh, section
from tests.curation.test_classify import config as classifying
from tests.curation.test_classify import corpus
from tests.curation.test_hostile import LARGEST, pages
from tests.curation.test_topics import RULES, options
from tests.recorder import Recorder

FEW = {"hash_bits": 8, "dimension": 4, "epochs": 2, "folds": 2}
QUESTION = "Why do the people who live near it keep sandbags in their cellars?"


def texts() -> dict[str, str]:
    """Name -> text that no page need have left, but some parser might."""
    generator = random.Random(5)
    alphabet = [chr(code) for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000]
    return {
        "empty": "",
        "only blanks": " \n\t" * 100,
        "only line ends": "\n" * 10_000,
        "one letter": "x",
        "one word": "x" * (LARGEST // 4),
        "one word again and again": "buffalo " * 20_000,
        "one line again and again": f"{PROSE}\n" * 200,
        "digits": "1234567890" * 2_000,
        "numbers of telephones": "+49 30 1234567, " * 2_000,
        "signs of mail": "@" * 20_000 + "a@b" * 5_000,
        "mail without end": "a" * 20_000 + "@" + "b." * 20_000,
        "dots": "." * 50_000,
        "brackets": "{[(" * 20_000,
        "questions": "? " * 20_000,
        "backslashes": "\\" * 20_000,
        "separators": "\u2028\u2029\x85\x0b\x0c\x1c" * 500,
        "NULs": "\0" * 500 + PROSE,
        "combining marks": "e" + "\u0301" * 20_000,
        "right to left": "\u202e" + PROSE,
        "private": "\ue000o\ue000c" * 500,
        "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 " * 2_000,
        "no spaces": "東京は日本の首都" * 2_000,
        "capitals that grow": "ß\u0130\u0149" * 2_000,
        **{f"random {n}": "".join(generator.choices(alphabet, k=3_000)) for n in range(10)},
        **{f"random ASCII {n}": "".join(map(chr, generator.choices(range(1, 128), k=3_000))) for n in range(10)},
    }


@pytest.fixture(scope="module")
def hostile() -> list[Document]:
    decoded = [html.extract_page(body[:LARGEST], kind) for kind, body in pages().values()]
    left = [document(found[1], media=found[0], code=found[2]) for found in decoded if not isinstance(found, str)]
    bad = [
        document(
            text,
            f"https://bad.example/{name}",
            language="xx" if "o" in name else "en",
            code=[[0, text.count("\n")]] if "a" in name else [],
        )
        for name, text in texts().items()
    ]
    odd = [document(PROSE, url) for url in ("https://a.example/" + "a" * 5_000, "https://é.example/%zz?#", "x://y/")]
    assert len(left) > 70
    return list({row["id"]: row for row in [*left, *bad, *odd]}.values())


Run = Callable[[Paths, Paths, Recorder], Metrics]


def stages() -> dict[str, Run]:
    """In the order of the DAG, as params.yaml sets them; what is learnt, is learnt in seconds."""
    lines = section("dedup")["lines"] | {"bucket_documents": 1000}
    classes = classifying().classify
    learning = classes.model_copy(update={"features": classes.features.model_copy(update=FEW)})
    sorting = options(features=section("topics")["features"] | FEW)
    return {
        "pii": lambda i, o, c: pii.run(pii.Config(pii.Pii(**section("pii"))), i, o, c),
        "dedup": lambda i, o, c: dedup.run(
            dedup.Config(1, dedup.Dedup(**section("dedup") | {"lines": lines})), i, o, c
        ),
        "heuristics": lambda i, o, c: heuristics.run(
            heuristics.Config(heuristics.Heuristics(**section("heuristics"))), i, o, c
        ),
        "classify": lambda i, o, c: classify.run(classify.Config(learning), i, o, c),
        "topics": lambda i, o, c: topics.run(topics.Config(sorting, topics.judge.Judge.model_validate(RULES)), i, o, c),
        "decontaminate": lambda i, o, c: decontaminate.run(
            decontaminate.Config(1, Evaluation(prompts=2), decontaminate.Decontaminate(**section("decontaminate"))),
            i,
            o,
            c,
        ),
    }


@pytest.mark.parametrize("name", list(stages()))
def test_each_stage_keeps_or_counts_every_hostile_document(
    name: str, hostile: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Example("rivers", "easy", QUESTION, "water", {})
    monkeypatch.setattr(held_out, "test_examples", lambda test, seed: [question])
    rows, columns = [*hostile, *corpus(20)], documents.SCHEMA
    if name in ("topics", "decontaminate"):
        rows, columns = [row | {"quality": 0.5, "judged": 0.5, "bucket": "general"} for row in rows], CLASSIFIED
    if name == "topics":
        rows += [
            document(f"{word} {n} " * 30) | {"quality": 1.0, "judged": 1.0, "bucket": "general"}
            for n in range(30)
            for word in ("film song", "match goal", "stone bread")
        ]
    source = fresh(tmp_path / "in")
    documents.write_sharded(source, sorted(rows, key=lambda row: row["id"]), 2, columns)
    outputs = {key: fresh(tmp_path / key) for key in ("documents", "contamination")}
    metrics = stages()[name]({"documents": source}, outputs, Recorder(tmp_path))
    kept = {row["id"] for row in documents.read_all(outputs["documents"])}
    assert kept <= {row["id"] for row in rows} and len(kept) == metrics["documents_out"]
    removed = sum(row["documents"] for row in metrics["funnel"])
    assert metrics["documents_in"] == len(rows) == len(kept) + removed
    assert all(row["reason"] for row in metrics["funnel"])
