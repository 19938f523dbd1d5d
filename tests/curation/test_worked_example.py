"""docs/deduplication.md says what comes out of nine pages: it is true."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.curation import dedup, documents
from stages.curation.dedup import Config, Dedup
from stages.curation.deduplication import shingles, similarity
from tests.curation.samples import document, fresh, store
from tests.recorder import Recorder

TEXT = (Path(__file__).parents[2] / "docs" / "deduplication.md").read_text()


def table(title: str) -> list[dict[str, str]]:
    """The rows of the table that begins with that column."""
    lines = TEXT[TEXT.index(f"| {title} |") :].split("\n\n")[0].splitlines()
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_the_worked_example_of_the_docs(tmp_path: Path) -> None:
    pages = {
        row["page"]: document(
            row["text"].replace(" / ", "\n"),
            row["address"],
            language=row["language"],
            date=f"{row['date']}-01-01T00:00:00Z",
        )
        for row in table("page")
    }
    options = Dedup.model_validate(
        {
            "memory_mb": 1,
            "minhash": {"shingle": 3, "permutations": 128, "threshold": 0.6, "recall_weight": 0.99},
            "lines": {"most": 2, "bucket_documents": 30_000_000, "characters": 10},
        }
    )
    source, out = store(tmp_path / "in", list(pages.values()), 3), fresh(tmp_path / "out")
    metrics = dedup.run(Config(1, options), {"documents": source}, {"documents": out}, Recorder(tmp_path))

    found = [(row["step"], str(row["documents"]), str(row["bytes"])) for row in metrics["funnel"]]
    assert found == [tuple(row.values()) for row in table("step")]
    names = {page["url"]: name for name, page in pages.items()}
    kept = {names[row["url"]]: row["text"] for row in documents.read_all(out)}
    assert set(kept) == set("BDFGHI") and not any("Read more" in text for text in kept.values())
    members = pq.read_table(out / "clusters.parquet").to_pylist()
    assert {(names[row["url"]], row["kept"]) for row in members} == {("C", False), ("D", True), ("E", False)}
    assert metrics["lines"] == {"distinct": 1, "occurrences": 3}


def test_the_similarities_of_the_docs() -> None:
    sets = {row["page"]: shingles.make_shingles([row["text"]], 3).sets()[0] for row in table("page")}
    assert [len(sets[name]) for name in "CDE"] == [15, 16, 17]
    for pair, expected in (("CD", 14 / 17), ("CE", 15 / 17), ("DE", 14 / 19)):
        assert similarity.jaccard(*(sets[name] for name in pair)) == pytest.approx(expected), pair
