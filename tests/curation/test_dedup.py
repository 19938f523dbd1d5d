"""De-duplication means what datasketch means, over the whole corpus, and keeps the best of each cluster."""

import random
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from datasketch import MinHash, MinHashLSH

from stages.curation import dedup, documents
from stages.curation.dedup import Config, Dedup
from stages.curation.deduplication import catalog, clusters, line_duplicates, minhash, shingles, similarity
from stages.curation.documents import Document
from stages.interface import Metrics
from tests.curation.samples import PROSE, contents, document, fresh, store
from tests.recorder import Recorder

WORDS = [f"word{n}" for n in range(2000)]


def options(memory_mb: int = 100, **fields: object) -> Config:
    near = {"shingle": 3, "permutations": 128, "threshold": 0.8, "recall_weight": 0.9}
    repeated = {"most": 6, "bucket_documents": 1000, "characters": 10}
    return Config(1, Dedup.model_validate({"memory_mb": memory_mb, "minhash": near | fields, "lines": repeated}))


def text(generator: random.Random, words: int) -> list[str]:
    return [generator.choice(WORDS) for _ in range(words)]


def near_copies(number: int, seed: int) -> list[list[str]]:
    """Random texts, half of them copies of an earlier one with a random share of words changed."""
    generator = random.Random(seed)
    texts: list[list[str]] = []
    for n in range(number):
        copy = n % 2 and texts
        words = list(generator.choice(texts)) if copy else text(generator, generator.randrange(3, 300))
        rate = generator.choice([0, 0.01, 0.02, 0.05, 0.2])
        texts.append([generator.choice(WORDS) if copy and generator.random() < rate else word for word in words])
    return texts


def random_text(generator: random.Random) -> str:
    """No word up to 400, each of up to 12 characters of one of several scripts, of signs or of any plane of Unicode."""
    ranges = generator.choice(
        [
            (97, 122),
            (65, 90),
            (0xC0, 0x24F),
            (0x391, 0x3C9),
            (0x627, 0x64A),
            (0xE01, 0xE3A),
            (0x3042, 0x30FF),
            (0x4E00, 0x9FFF),
            (0x1F300, 0x1FAFF),
            (0, 0xD7FF),
        ]
    )
    count = generator.choice([0, 1, 2, 4, 5, 6, generator.randrange(400)])
    words = ("".join(chr(generator.randint(*ranges)) for _ in range(generator.randrange(13))) for _ in range(count))
    return generator.choice([" ", "\n", ", ", "\u3000"]).join(words)


@pytest.mark.parametrize(("permutations", "seed"), [(128, 1), (64, 7), (16, 3)])
def test_signatures_equal_datasketch(permutations: int, seed: int) -> None:
    generator = random.Random(seed)
    texts = [" ".join(words) for words in near_copies(50, seed)] + [random_text(generator) for _ in range(60)]
    cut = shingles.cut(["", " \n", "ünïcode 東京", *texts], 5)
    shingled = cut.lists()
    assert shingled[0] == shingled[1] == [b""]  # no word at all is one shingle: such documents are alike
    assert min(map(len, shingled)) == 1 and max(map(len, shingled)) > 200
    found = minhash.signatures(cut.hashes(), cut.offsets, minhash.permutations(permutations, seed))
    for row, each in zip(found, shingled, strict=True):
        reference = MinHash(num_perm=permutations, seed=seed, hashfunc=xxhash.xxh32_intdigest)
        for shingle in each:
            reference.update(shingle)
        assert np.array_equal(row, reference.hashvalues)


def test_candidates_are_the_pairs_of_datasketch_lsh() -> None:
    cut = shingles.cut([" ".join(words) for words in near_copies(300, 5)], 3)
    signatures = minhash.signatures(cut.hashes(), cut.offsets, minhash.permutations(128, 1))
    number, rows = minhash.bands(0.7, 128, 0.5)
    index = MinHashLSH(num_perm=128, params=(number, rows))
    sketches = [MinHash(hashvalues=row, seed=1, scheme="affine32") for row in signatures]
    for key, sketch in enumerate(sketches):
        index.insert(key, sketch)
    expected = {
        tuple(sorted((key, int(other)))) for key, sketch in enumerate(sketches) for other in index.query(sketch)
    }
    expected = {pair for pair in expected if pair[0] != pair[1]}
    assert {tuple(pair) for pair in minhash.candidates(signatures, number, rows).tolist()} == expected
    assert len(expected) > 50


def shingles_by_hand(body: str, n: int) -> list[bytes]:
    """What `shingles.cut` has to give, a word at a time."""
    words = re.findall(rf"[{shingles.LONE}]|[^\W{shingles.LONE}]+", body.lower())
    return [" ".join(words[start : start + n]).encode() for start in range(max(1, len(words) - n + 1))]


def test_shingles_of_words_and_of_scripts_without_spaces() -> None:
    examples = ["A b, C d!", "one two", "東京は", ""]
    assert shingles.cut(examples, 3).lists() == [[b"a b c", b"b c d"], [b"one two"], ["東 京 は".encode()], [b""]]
    generator = random.Random(4)
    texts = [random_text(generator) for _ in range(300)] + ["İstanbul ΣΑΣ ß_1", "x" * 10_000]
    cut = shingles.cut(texts, 2)
    assert cut.lists() == [shingles_by_hand(body, 2) for body in texts]
    assert len(shingles.cut([], 2).lists()) == 0
    each = [shingle for document in cut.lists() for shingle in document]
    for seed in (0, 1):
        assert cut.hashes(seed).tolist() == [xxhash.xxh32_intdigest(shingle, seed) for shingle in each]


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


def run(rows: list[Document], directory: Path, shards: int = 1, config: Config | None = None) -> Metrics:
    source = store(directory / "in", rows, shards)
    return dedup.run(
        config or options(), {"documents": source}, {"documents": fresh(directory / "out")}, Recorder(directory)
    )


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
    parts = [[row for row in pages if line_duplicates.bucket(row["id"], 2) == part] for part in range(2)]
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


def test_result_does_not_depend_on_the_cut_into_files(tmp_path: Path) -> None:
    rows = worked_example() + [document(" ".join(words)) for words in near_copies(40, 9)]
    one = run(rows, tmp_path / "one")
    many = run(list(reversed(rows)), tmp_path / "many", shards=4)
    assert one == many
    assert documents.read_all(tmp_path / "one" / "out") == documents.read_all(tmp_path / "many" / "out")
    again = run(rows, tmp_path / "again")
    assert again == one and contents(tmp_path / "again" / "out") == contents(tmp_path / "one" / "out")


def test_exact_similarity_decides_not_the_estimate(tmp_path: Path) -> None:
    texts = [" ".join(words) for words in near_copies(200, 11)]
    run([document(body, f"https://{n}.example/") for n, body in enumerate(texts)], tmp_path)
    kept = documents.read_all(tmp_path / "out")
    sets = [shingles.cut([row["text"]], 3).sets()[0] for row in kept]
    pairs = [(a, b) for n, a in enumerate(sets) for b in sets[:n]]
    assert 50 < len(kept) < 200
    assert sum(similarity.jaccard(a, b) >= 0.8 for a, b in pairs) <= 2


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
    monkeypatch.setattr(catalog, "BYTES", 200_000)  # as if each value took so much: many ranges of keys
    assert catalog.parts(len(rows), 1) > 10
    many = run(rows, tmp_path / "many", shards=2, config=options(memory_mb=1))
    assert one == many and contents(tmp_path / "one" / "out") == contents(tmp_path / "many" / "out")


def test_a_page_that_is_there_a_thousand_times_costs_no_million_pairs() -> None:
    keys = np.array([5] * 1000 + [7] * 3 + list(range(10, 20)), np.uint64)
    pairs = minhash.unpack(minhash.pairs(keys, np.arange(len(keys))))
    assert len(pairs) == 999 + 998 + 3
    joined = clusters.join(pairs)
    assert np.unique(joined.roots, return_counts=True)[1].tolist() == [1000, 3]
