"""`herd explain`: what a parameter means, and what is said of a key that is none."""

import re
import subprocess
import sys

import pytest

from flows.explain import find_parameters
from flows.project import ROOT
from stages.interface import StageError


def explain(key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.explain", key], cwd=ROOT, capture_output=True, text=True)


def test_value_limits_and_source_are_given() -> None:
    run = explain("pretraining.annealing")
    assert run.returncode == 0
    assert re.search(r"pretraining\.annealing\.start = [\d.]+ .*\n +Initial learning rate, .*paper 3\.4\.3", run.stdout)
    assert re.search(r"pretraining\.annealing\.mix\.math = [\d.]+  \[at least 0, at most 1\]\n", run.stdout)


def test_a_key_that_is_none_is_a_failure() -> None:
    run = explain("no such thing")
    assert run.returncode == 1 and run.stderr == "herd explain: no parameter has 'no such thing' in its key\n"


def test_a_key_is_found_by_what_it_has_in_it_where_none_begins_so() -> None:
    assert find_parameters("annealing.mix.mat")[0].startswith("pretraining.annealing.mix.math = ")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("pretraining.anealing", "'pretraining.anealing' in its key; did you mean pretraining.annealing, "),
        ("no such thing", "'no such thing' in its key"),
    ],
)
def test_a_misspelt_key_is_told_what_it_may_have_meant(key: str, said: str) -> None:
    with pytest.raises(StageError, match=re.escape(said)):
        find_parameters(key)
