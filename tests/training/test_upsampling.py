"""No bucket is gone through more often than allowed; the others make up for it."""

import pytest

from stages.interface import StageError
from stages.training.upsampling import limit_epochs

MIX = {"general": 0.5, "math": 0.25, "code": 0.17, "multilingual": 0.08}


def test_a_mix_within_the_limit_is_unchanged() -> None:
    assert limit_epochs(MIX, dict.fromkeys(MIX, 500), 1000, 1) == pytest.approx(MIX, abs=1e-12)


def test_a_capped_bucket_is_replaced_by_the_others_in_proportion() -> None:
    found = limit_epochs(MIX, {"general": 1000, "math": 1000, "code": 20, "multilingual": 1000}, 1000, 4)
    assert found["code"] == pytest.approx(4 * 20 / 1000)
    assert sum(found.values()) == pytest.approx(1)
    for bucket in ("math", "multilingual"):
        assert found[bucket] / found["general"] == pytest.approx(MIX[bucket] / MIX["general"])


def test_capping_one_bucket_can_cap_another() -> None:
    found = limit_epochs({"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 10, "b": 35, "c": 900}, 100, 1)
    assert found == pytest.approx({"a": 0.1, "b": 0.35, "c": 0.55})


def test_a_corpus_that_is_too_small_is_refused() -> None:
    with pytest.raises(StageError, match="4 passes over 400 tokens are fewer than the 2,000"):
        limit_epochs(MIX, dict.fromkeys(MIX, 100), 2000, 4)
