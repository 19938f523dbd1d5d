"""Held-out documents."""

import pytest

from stages.tokenizer.corpus import Document, is_held_out
from tests.fixtures import corpus


def test_a_share_is_held_out_whatever_else_is_in_the_corpus() -> None:
    rows = [Document(row["id"], "code", 0.0, "") for row in corpus(1000, seed=3)]
    chosen = [is_held_out(row, 200) for row in rows]
    assert sum(chosen) == pytest.approx(0.2 * len(rows), rel=0.15)
    assert all(is_held_out(row, 300) for row, held in zip(rows, chosen, strict=True) if held)
