"""De-duplication means what datasketch means, over the whole corpus, and keeps the best of each cluster."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.curation import documents
from stages.curation.deduplication import catalog
from stages.curation.documents import Document
from tests.curation.duplicates import near_copies, options, run, text
from tests.curation.samples import PROSE, contents, document


def worked_example() -> list[Document]:
    """Ten pages: two versions of one address, a cluster of three near-copies, and five others; one line in seven."""
    generator = random.Random(0)
    base = " ".join(text(generator, 200))
    pages = [
        document(f"old {PROSE}", "https://a.example/x?utm_source=1", date="2020-01-01"),
        document(f"new {PROSE}", "http://www.a.example/x/", date="2021-01-01"),
        document(base, "https://b.example/1", date="2020-01-01"),
        document(f"{base} end", "https://b.example/2", date="2022-01-01", planted_from="https://b.example/1"),
        document(f"{base} the end", "https://b.example/3", date="2022-01-01"),
    ]
    others = [document(" ".join(text(generator, 100)), f"https://c.example/{n}") for n in range(5)]
    menu = "Subscribe to our newsletter"
    return [row | {"text": f"{menu}\n{row['text']}"} for row in pages[1:3] + others] + [pages[0], *pages[3:]]


def test_worked_example(tmp_path: Path) -> None:
    metrics = run(worked_example(), tmp_path)
    funnel = [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]]
    # The menu stands in 7 pages, but one of these is a near-duplicate, so 6 are left and the line stays.
    assert funnel == [("url", "older version", 1), ("document", "near-duplicate", 2)]
    kept = documents.read_all(tmp_path / "out")
    assert {row["url"] for row in kept if row["host"] != "c.example"} == {
        "http://www.a.example/x/",
        "https://b.example/3",
    }
    near = metrics["minhash"]
    assert isinstance(near, dict)
    assert near["planted"] == {"pairs": 1, "similar": 1, "found": 1, "recall": 1.0}
    assert (near["clusters"], near["removed"], near["removed_similar"]) == (1, 2, 2)
    members = pq.read_table(tmp_path / "out" / "clusters.parquet").to_pylist()
    assert sorted((row["url"], row["kept"]) for row in members) == [
        ("https://b.example/1", False),
        ("https://b.example/2", False),
        ("https://b.example/3", True),
    ]


def test_result_does_not_depend_on_the_cut_into_files(tmp_path: Path) -> None:
    rows = worked_example() + [document(" ".join(words)) for words in near_copies(40, 9)]
    one = run(rows, tmp_path / "one")
    many = run(list(reversed(rows)), tmp_path / "many", shards=4)
    assert one == many
    assert documents.read_all(tmp_path / "one" / "out") == documents.read_all(tmp_path / "many" / "out")
    again = run(rows, tmp_path / "again")
    assert again == one and contents(tmp_path / "again" / "out") == contents(tmp_path / "one" / "out")


def test_the_ends_of_a_chain_both_stay(tmp_path: Path) -> None:
    """Each text has 10 words of the one before it no more: neighbours are similar, the ends are not."""
    generator = random.Random(6)
    words = text(generator, 300)
    texts = [words[10 * n : 10 * n + 200] for n in range(6)]
    rows = [document(" ".join(body), f"https://{n}.example/", date=f"{2010 + n}") for n, body in enumerate(texts)]
    metrics = run(rows, tmp_path, config=options(threshold=0.85, recall_weight=0.99))
    # The newest is similar to the one before it; of the other four the newest is similar to the one before it, ...
    assert sorted(row["date"] for row in documents.read_all(tmp_path / "out")) == ["2011", "2013", "2015"]
    members = pq.read_table(tmp_path / "out" / "clusters.parquet").to_pylist()
    assert sorted((row["date"], row["kept"]) for row in members) == [(f"{2010 + n}", n % 2 == 1) for n in range(6)]
    assert len({row["cluster"] for row in members}) == 3
    near = metrics["minhash"]
    assert isinstance(near, dict)
    assert (near["clusters"], near["removed"], near["removed_similar"]) == (3, 3, 3)


def test_translations_with_the_same_figures_are_no_duplicates(tmp_path: Path) -> None:
    body = " ".join(text(random.Random(3), 80))
    rows = [document(body, f"https://{code}.example/", language=code) for code in ("en", "de", "en")]
    rows[2]["url"], rows[2]["id"] = "https://en.example/2", "f" * 16
    run(rows, tmp_path)
    assert sorted(row["language"] for row in documents.read_all(tmp_path / "out")) == ["de", "en"]


def test_result_does_not_depend_on_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = worked_example() + [document(" ".join(words)) for words in near_copies(60, 13)]
    one = run(rows, tmp_path / "one", shards=2)
    monkeypatch.setattr(catalog, "BYTES_PER_VALUE", 200_000)  # as if each value took so much: many ranges of keys
    assert catalog.num_parts(len(rows), 1) > 10
    many = run(rows, tmp_path / "many", shards=2, config=options(memory_mb=1))
    assert one == many and contents(tmp_path / "one" / "out") == contents(tmp_path / "many" / "out")
