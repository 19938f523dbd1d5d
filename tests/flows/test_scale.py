import shutil
from pathlib import Path

import pytest

from flows.parameters import ParameterError, Parameters
from flows.scale import check, choose, rounds


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "mini"))


def test_only_the_scale_and_its_rounds_change(root: Path) -> None:
    path = root / "params.yaml"
    before = path.read_text()
    assert choose(root, "toy")
    toy = Parameters(root).resolved
    assert toy["scale"] == "toy" and toy["rounds"] == rounds(3) and toy["last_round"] == "3"
    kept = [line for line in before.splitlines() if not line.startswith(("scale:", "last_round:"))]
    assert [line for line in path.read_text().splitlines() if line in kept] == kept
    assert "# which file of scales/ is read" in path.read_text()
    assert choose(root, "smoke")
    assert path.read_text() == before


def test_a_scale_that_is_chosen_already_leaves_the_file_alone(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace('"1":', "'1' :"))  # other characters, the same value
    before = path.stat().st_mtime_ns
    assert not choose(root, "smoke")
    assert path.stat().st_mtime_ns == before


def test_rounds_may_stand_in_braces_or_last(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text('rounds: {"1": {policy: a, earlier: b}}  # in short\nlast_round: "1"\nscale: smoke\n')
    choose(root, "toy")
    assert Parameters(root).resolved["rounds"] == rounds(3)
    choose(root, "smoke")
    assert Parameters(root).resolved["rounds"] == rounds(1)
    assert "# in short" in path.read_text()


def test_each_round_starts_from_the_policy_of_the_one_before() -> None:
    assert rounds(2) == {
        "1": {"policy": "models/flagship/base", "earlier": "data/prompts"},
        "2": {"policy": "models/flagship/round-1/dpo", "earlier": "data/round-1/preferences"},
    }


def test_rounds_of_another_scale_are_refused_with_the_command_that_mends_them(root: Path) -> None:
    check(Parameters(root))
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("scale: smoke", "scale: toy"))
    with pytest.raises(ParameterError, match=r"rounds.*scales/toy.yaml.*is 3; run `python -m flows.scale toy`"):
        check(Parameters(root))


def test_an_unknown_scale_is_refused_with_those_that_exist(root: Path) -> None:
    with pytest.raises(ParameterError, match="'tiny' is not a scale; there are smoke, toy"):
        choose(root, "tiny")
