"""Lines that repeat within a bucket."""

import random
from pathlib import Path

from stages.curation import documents
from stages.curation.dedup import Config, Dedup
from stages.curation.deduplication import line_duplicates
from tests.curation.duplicates import options, run, text
from tests.curation.samples import document


def test_the_seventh_line_goes_code_and_the_sixth_stay(tmp_path: Path) -> None:
    generator = random.Random(1)
    rows = []
    for n in range(7):
        parts = [
            "Seen seven times",
            *(["Seen six times"] if n < 6 else []),
            "",
            " ".join(text(generator, 50)),
            "",
            "return 0",
        ]
        rows.append(document("\n".join(parts), code=[[len(parts) - 1] * 2]))
    metrics = run(rows, tmp_path)
    for row in documents.read_all(tmp_path / "out"):
        body = row["text"].split("\n")
        assert "Seen seven times" not in body
        assert [body[first : last + 1] for first, last in row["code"]] == [["return 0"]]
    kept = [row["text"] for row in documents.read_all(tmp_path / "out")]
    assert sum("Seen six times" in body for body in kept) == 6
    assert metrics["lines"] == {"distinct": 1, "occurrences": 7}


def test_lines_count_within_a_bucket(tmp_path: Path) -> None:
    generator = random.Random(2)
    pages = [document(f"Menu\n{' '.join(text(generator, 50))}") for _ in range(40)]
    parts = [[row for row in pages if line_duplicates.bucket_of(row["id"], 2) == part] for part in range(2)]
    rows = parts[0][:5] + parts[1][:7]
    small = Dedup.model_validate(
        {
            "memory_mb": 1,
            "minhash": options().dedup.minhash,
            "lines": {"most": 6, "bucket_documents": 6, "characters": 10},
        }
    )
    metrics = run(rows, tmp_path, config=Config(1, small))
    assert metrics["lines"] == {"distinct": 1, "occurrences": 7}
    assert sum("Menu" in row["text"] for row in documents.read_all(tmp_path / "out")) == 5
