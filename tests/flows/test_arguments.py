"""What the command line refuses, in one line that says what would do."""

import argparse
from collections.abc import Callable

import pytest

from flows.arguments import at_least, between, name_value
from flows.execution.stage_run import import_stage
from flows.stage import parse
from stages.interface import StageError


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (at_least(1), {"1": 1, "12": 12}, ["0", "-1", "x", "1.5", ""]),
        (at_least(0, 9), {"0": 0, "9": 9}, ["10", "100000000000000000000"]),
        (between(0.01, 100, 0), {"0": 0, "0.7": 0.7}, ["nan", "inf", "-1", "1e-310", "101"]),
        (name_value, {"a=b=c": ("a", "b=c")}, ["a", "=b", "a=", ""]),
    ],
)
def test_values_are_taken_or_refused(kind: Callable[[str], object], right: dict[str, object], wrong: list[str]) -> None:
    assert {text: kind(text) for text in right} == right
    for text in wrong:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            kind(text)


def test_a_stage_that_is_none_and_an_item_that_is_missing_are_named() -> None:
    arguments = parse(["pretraining.initial", "--in", "tokens=data/tokens"])
    with pytest.raises(StageError, match=r"--item member=\.\.\. is missing"):
        arguments.item["member"]
    with pytest.raises(StageError, match=r"--in herd=\.\.\. is missing"):
        arguments.inputs["herd"]
    for name in ("curation.dedupe", "nothing", "model", "interface", "model.llama"):
        with pytest.raises(StageError, match="no stage of this name"):
            import_stage(name)
    assert import_stage("pretraining.initial").__name__ == "stages.pretraining.initial"
