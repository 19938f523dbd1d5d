"""What the corpus holds of the tests is found by 8-grams, told from mere form, and counted."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.curation import decontaminate, documents
from stages.curation.decontaminate import Config, Decontaminate, ngrams, token_coverage
from stages.curation.documents import Document
from stages.interface import Metrics
from stages.tasks import held_out
from stages.tasks.example import Example
from stages.tasks.held_out import Evaluation
from tests.curation.samples import PROSE, contents, document, fresh
from tests.recorder import Recorder

FORM = "Tell me now which of the four words below is longest:"


def example(task: str, prompt: str, answer: str = "yes") -> Example:
    return Example(task, "easy", prompt, answer, {})


OPTIONS = Decontaminate(length=8, shared=3, document_share=0.7, prompt_share=0.5)
TESTS = [
    *(example("words", f"{FORM} {rest}", "fern") for rest in ("oak elm fern ash", "a b c d", "x y z w", "k l m n")),
    example("rivers", "Why do the people who live near it keep sandbags in their cellars?", "high water"),
    example("rivers", "What do gulls eat when the harbour is frozen over in the coldest winter?", "nothing"),
    example("sums", "2 + 2 =", "4"),
]


def test_ngrams_ignore_case_and_need_enough_tokens() -> None:
    assert np.array_equal(ngrams("A b, c D!", 3), ngrams("a B , C d !", 3)) and len(ngrams("a b, c d!", 3)) == 4
    assert len(ngrams("a b", 3)) == 0
    assert len(np.intersect1d(ngrams("a b c d", 3), ngrams("x b c d", 3))) == 1


def test_coverage_counts_each_token_once() -> None:
    # Ten tokens have eight 3-grams; the second, third and last of them cover tokens 2-5 and 8-10.
    hits = np.array([False, True, True, False, False, False, False, True])
    assert token_coverage(hits, 3) == pytest.approx(7 / 10)
    assert token_coverage(np.empty(0, bool), 3) == 0


def run(rows: list[Document], directory: Path, monkeypatch: pytest.MonkeyPatch, shards: int = 1) -> Metrics:
    monkeypatch.setattr(held_out, "test_examples", lambda test, seed: TESTS)
    rows = [row | {"quality": 1.0, "judged": 1.0, "bucket": "general"} for row in rows]
    directory.mkdir(parents=True)
    source = fresh(directory / "in")
    documents.write_sharded(source, rows, shards, documents.CLASSIFIED)
    outputs = {name: fresh(directory / name) for name in ("documents", "contamination")}
    config = Config(1, Evaluation(prompts=2), OPTIONS)
    return decontaminate.run(config, {"documents": source}, outputs, Recorder(directory))


def corpus() -> list[Document]:
    leaked = "Q: What do gulls eat when the harbour is frozen over in the coldest winter? A: nothing"
    return [
        document(PROSE, "https://river.example/"),
        document(f"{FORM} {PROSE[::-1]}", "https://form.example/"),
        document(leaked, "https://leak.example/"),
    ]


def test_worked_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run(corpus(), tmp_path / "one", monkeypatch)
    assert [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]] == [
        ("contaminated", "test prompts", 1)
    ]
    kept = documents.read_all(tmp_path / "one" / "documents")
    assert {row["host"] for row in kept} == {"river.example", "form.example"}
    assert metrics["tasks"] == {
        # That four prompts begin alike says nothing; the rest of three of them is too short to leave an 8-gram.
        "words": {"prompts": 4, "judged": 4, "contaminated": 0.0, "contaminated_before": 0.0},
        # The document that held the second prompt went; of the first, 11 of 16 tokens stand in the prose.
        "rivers": {"prompts": 2, "judged": 2, "contaminated": 0.5, "contaminated_before": 1.0},
        "sums": {"prompts": 1, "judged": 0, "contaminated": None, "contaminated_before": None},
    }
    table = pq.read_table(tmp_path / "one" / "contamination" / "contamination.parquet").to_pylist()
    assert [row["overlap"] for row in table[4:]] == [pytest.approx(11 / 16), 0.0, None]

    assert metrics["generated"] == {"general": 0.0, "all": 0.0}
    many = run(corpus()[::-1], tmp_path / "many", monkeypatch, shards=3)
    assert many == metrics
    assert contents(tmp_path / "many" / "contamination") == contents(tmp_path / "one" / "contamination")


def test_without_a_gram_that_counts_nothing_is_hit() -> None:
    none = np.empty(0, np.uint64)
    some = np.array([1, 5, 9], np.uint64)
    values = np.array([0, 1, 4, 9, 10], np.uint64)
    assert decontaminate._is_in_sorted(values, none).tolist() == [False] * 5
    assert decontaminate._is_in_sorted(values, some).tolist() == np.isin(values, some).tolist()
