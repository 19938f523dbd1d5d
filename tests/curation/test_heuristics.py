"""Heuristics drop what they should, for the reason they say, and leave good text alone."""

import random
from pathlib import Path

import pytest

from stages.curation import documents, heuristics
from stages.curation.documents import Document
from stages.curation.filters import dirty_words
from stages.curation.heuristics import Config
from stages.interface import Metrics, StageError
from tests.curation.limits import DIRTY, LIMITS
from tests.curation.samples import PROSE, contents, document, fresh, store
from tests.recorder import Recorder

CODE = "\n".join(f"def function_{n}(value):\n    return value * {n} + len(str(value))\n" for n in range(12))


def judged(row: Document) -> str | None:
    return heuristics.broken_rule(heuristics.make_view(row, LIMITS), LIMITS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, None),
        ("Too short to say much.", "too few words"),
        (f"{PROSE}\n" * 3, "repeated lines"),
        (" ".join(["cheap watches online now"] * 30), "one 2-gram too often"),
        (PROSE.replace(" the ", " the # "), "symbols"),
        ("\n".join(sentence + "..." for sentence in PROSE.split(". ")), "ellipsis lines"),
        (" ".join("abcdefghijklmnopqrst" for _ in range(30)), "word length"),
    ],
)
def test_heuristics_name_the_rule(text: str, reason: str | None) -> None:
    assert judged(document(text)) == reason


def test_exercises_math_and_code_survive_their_own_rules() -> None:
    questions = "\n".join(
        f"Q: What is {word} in French? A: mot{n} Q: Translate {word} to German. A: Wort{n}"
        for n, word in enumerate(("river", "table", "house", "green", "seven", "horse", "bread", "cloud"))
    )
    sums = "\n".join(f"{a} + {b} = {a + b}. {a + b} - {a} = {b}." for a in range(6) for b in range(4))
    assert judged(document(questions)) is None
    assert judged(document(sums)) is None
    assert judged(document(CODE, media="code", code=[[0, CODE.count("\n")]])) is None
    minified = document("x=" + "1," * 2000 + "0\n" + CODE, media="code")
    assert judged(minified) == "long line of code"


def run(rows: list[Document], directory: Path, monkeypatch: pytest.MonkeyPatch, shards: int = 1) -> Metrics:
    monkeypatch.setattr(dirty_words, "load", lambda: DIRTY)
    source = store(directory / "in", rows, shards)
    return heuristics.run(
        Config(LIMITS), {"documents": source}, {"documents": fresh(directory / "out")}, Recorder(directory)
    )


def corpus() -> list[Document]:
    """Sixty pages of shuffled prose, one of words that no other has, and one for each of three rules."""
    generator = random.Random(0)
    words = PROSE.split()
    rows = [document(" ".join(generator.sample(words, len(words))), f"https://a.example/{n}") for n in range(60)]
    syllables = ["zor", "quax", "vib", "plo", "mur", "tesh"]
    strange = [
        f"{''.join(generator.choices(syllables, k=2))}" + "aeiou"[n % 5] * (n // 30 + 1) for n in range(len(words))
    ]
    return [
        *rows,
        document(" ".join(strange), "https://strange.example/"),
        document("Nothing.", "https://short.example/"),
        document(f"{PROSE}\n" * 3, "https://again.example/"),
        document(f"{PROSE} smut filth smut", "https://dirty.example/"),
    ]


def test_stage_accounts_for_every_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run(corpus(), tmp_path / "one", monkeypatch)
    assert [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]] == [
        ("rules", "dirty words", 1),
        ("rules", "repeated lines", 1),
        ("rules", "too few words", 1),
        ("divergence", "outlier words", 1),
    ]
    kept = documents.read_all(tmp_path / "one" / "out")
    assert {row["host"] for row in kept} == {"a.example"}
    assert (metrics["documents_in"], metrics["documents_out"]) == (64, 60)
    assert metrics["bytes_out"] == sum(documents.num_bytes(row["text"]) for row in kept)

    many = run(corpus(), tmp_path / "many", monkeypatch, shards=5)
    assert many == metrics
    removed = [contents(tmp_path / name / "out")["removed.parquet"] for name in ("one", "many")]
    assert removed[0] == removed[1]


def test_small_groups_are_not_judged_by_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in corpus() if row["host"] in ("a.example", "strange.example")][-20:]
    assert run(rows, tmp_path, monkeypatch)["documents_out"] == 20


def test_nothing_left_says_which_section_to_loosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match=r"loosen curation\.heuristics"):
        run([document("Nothing.")], tmp_path, monkeypatch)
