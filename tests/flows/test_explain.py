"""`python -m flows.explain`: what a parameter means, and what is said of a key that is none."""

import re

import pytest

from flows.explain import explained
from stages.interface import StageError


def test_value_limits_and_source_are_given() -> None:
    text = "\n".join(explained("pretraining.annealing"))
    assert re.search(r"pretraining\.annealing\.start = [\d.]+ .*\n +Learning rate .*paper 3\.4\.3", text)
    assert re.search(r"pretraining\.annealing\.mix\.math = [\d.]+  \[at least 0, at most 1\]\n", text)


def test_a_key_is_found_by_what_it_has_in_it_where_none_begins_so() -> None:
    assert explained("annealing.mix.mat")[0].startswith("pretraining.annealing.mix.math = ")


@pytest.mark.parametrize(("key", "said"), [
    ("pretraining.anealing", "'pretraining.anealing' in its key; did you mean pretraining.annealing, "),
    ("no such thing", "'no such thing' in its key"),
])  # fmt: skip
def test_a_misspelt_key_is_told_what_it_may_have_meant(key: str, said: str) -> None:
    with pytest.raises(StageError, match=re.escape(said)):
        explained(key)
