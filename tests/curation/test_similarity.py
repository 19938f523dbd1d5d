"""Exact similarity of candidate pairs."""

from pathlib import Path

from stages.curation import documents
from stages.curation.deduplication import shingles, similarity
from tests.curation.duplicates import near_copies, run
from tests.curation.samples import document


def test_exact_similarity_decides_not_the_estimate(tmp_path: Path) -> None:
    texts = [" ".join(words) for words in near_copies(200, 11)]
    run([document(body, f"https://{n}.example/") for n, body in enumerate(texts)], tmp_path)
    kept = documents.read_all(tmp_path / "out")
    sets = [shingles.make_shingles([row["text"]], 3).sets()[0] for row in kept]
    pairs = [(a, b) for n, a in enumerate(sets) for b in sets[:n]]
    assert 50 < len(kept) < 200
    assert sum(similarity.jaccard(a, b) >= 0.8 for a, b in pairs) <= 2
