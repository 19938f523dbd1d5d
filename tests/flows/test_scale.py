import shutil
from pathlib import Path

import pytest

from flows.parameters import ParameterError, Parameters
from flows.scale import build_rounds, check_rounds, set_scale


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "mini"))


def test_only_the_scale_and_its_rounds_change(root: Path) -> None:
    path = root / "params.yaml"
    before = path.read_text()
    assert set_scale(root, "toy")
    toy = Parameters(root).resolved
    assert toy["scale"] == "toy" and toy["rounds"] == build_rounds(3)
    kept = [line for line in before.splitlines() if not line.startswith(("scale:", "  last:"))]
    assert [line for line in path.read_text().splitlines() if line in kept] == kept
    assert "# which file of scales/ is read" in path.read_text()
    assert set_scale(root, "smoke")
    assert path.read_text() == before


def test_a_scale_that_is_chosen_already_leaves_the_file_alone(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace('"1":', "'1' :"))  # other characters, the same value
    before = path.stat().st_mtime_ns
    assert not set_scale(root, "smoke")
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("rounds", ['rounds: {last: 1, inputs: {"1": {policy: a}}}  # in short\n', ""])
def test_rounds_may_be_in_braces_or_missing(root: Path, rounds: str) -> None:
    path = root / "params.yaml"
    path.write_text(f"{rounds}scale: smoke\n")
    set_scale(root, "toy")
    assert Parameters(root).resolved["rounds"] == build_rounds(3)
    set_scale(root, "smoke")
    assert Parameters(root).resolved["rounds"] == build_rounds(1)
    assert ("# in short" in path.read_text()) == bool(rounds)


def test_each_round_starts_from_the_policy_of_the_one_before() -> None:
    assert build_rounds(2) == {
        "last": 2,
        "inputs": {
            "1": {"policy": "models/flagship/base", "earlier": "data/prompts"},
            "2": {"policy": "models/flagship/round-1/dpo", "earlier": "data/round-1/preferences"},
        },
    }


def test_rounds_of_another_scale_are_refused_with_the_command_that_writes_them(root: Path) -> None:
    check_rounds(Parameters(root))
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("scale: smoke", "scale: toy"))
    with pytest.raises(ParameterError, match=r"rounds: not those of scale toy; run `herd scale toy`"):
        check_rounds(Parameters(root))


def test_an_unknown_scale_is_refused_with_those_that_exist(root: Path) -> None:
    with pytest.raises(ParameterError, match="'tiny' is not one of smoke, toy"):
        set_scale(root, "tiny")
