"""A data set is valued apart from the corpus."""

from pathlib import Path

from stages.ablations import data_value
from tests.ablations.test_trial import TRIALS
from tests.fixtures import World


def test_the_valued_source_is_kept_out_of_the_corpus(world: World, tmp_path: Path) -> None:
    options = data_value.DataValue(trials=TRIALS, anneal_tokens=2_000, share=0.3, source="sums", held_out_per_mille=200)
    corpus = [
        {
            "id": f"{n * 7919 % 1000:08x}",
            "text": f"{n} plus {n} is {2 * n} " * 9,
            "source": ("web", "sums")[n % 2],
            "bucket": ("general", "math", "code", "multilingual")[n // 2 % 4],
        }
        for n in range(400)
    ]
    result = data_value.split_corpus(corpus, options, seed=1)
    for part in ("train", "validation"):
        assert {row["source"] for bucket in ("general", "math") for row in result[part][bucket]} == {"web"}
        assert {row["source"] for row in result[part]["good"]} == {"sums"}
    good, mixed = result["train"]["good"], result["train"]["shuffled"]
    assert all(sorted(a["text"].split()) == sorted(b["text"].split()) for a, b in zip(good, mixed, strict=True))
    assert all(a["text"] != b["text"] for a, b in zip(good, mixed, strict=True))
    assert "shuffled" not in result["validation"]
