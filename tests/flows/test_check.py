"""`herd check`: what is refused, in one line that names the file, the key and what is wrong; and what it writes."""

import importlib
from pathlib import Path

import pytest
import yaml
from dvc.dependency.param import read_param_file
from dvc.fs import LocalFileSystem

from flows.execution.dag import Dag
from flows.parameters import ParameterError, Parameters, config_keys, stage_modules, validate
from flows.parameters.resolve import RESOLVED
from tests.flows.project import Project, copy_parameter_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copy_parameter_files(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("params.yaml", "seed: 1", "seed: 1\nseed: 2", r"params\.yaml: not valid YAML: the key seed is given twice\n"),
        ("params.yaml", "seed: 1", "seed: 1\nherd: {bootstrap: 9}", r"the key herd is given twice"),
        ("params.yaml", "scale: toy", "scale: tiny", r"params\.yaml: scale: 'tiny' is not one of 405b, "),
        (
            "scales/toy.yaml",
            "base: common",
            "base: none",
            r"scales/toy\.yaml: base: scales/base/none\.yaml does not exist",
        ),
        ("scales/base/common.yaml", "curation:", "base: common\ncuration:", r"common\.yaml is a base of itself"),
        (
            "scales/toy.yaml",
            "budget_minutes",
            "seed: 2\nbudget_minutes",
            r"seed: set in params\.yaml and in scales/toy",
        ),
        ("scales/toy.yaml", "vocab_size: 2048", "vocab_size: many", r"scales/toy\.yaml: tokenizer\.vocab_size: Input"),
        (
            "scales/toy.yaml",
            "vocab_size:",
            "vocab: 1\n  vocab_size:",
            r"scales/toy\.yaml: tokenizer\.vocab: unknown key",
        ),
        (
            "scales/toy.yaml",
            "tokenizer:",
            "tokeniser: {a: 1}\ntokenizer:",
            r"tokeniser\.a: no stage reads this key; did",
        ),
        (
            "scales/toy.yaml",
            "key_value_heads: 2, ffn_size: 352",
            "key_value_heads: 3, ffn_size: 352",
            r"heads 4 is not",
        ),
        (
            "scales/toy.yaml",
            "length: 64, batch_tokens: 512",
            "length: 64, batch_tokens: 63",
            r"batch_tokens 63 is less",
        ),
        ("scales/base/common.yaml", "[192, 256]", "[192, 25600000000]", r"lengths\.1: .* less than or equal to 10{9} "),
        ("params.yaml", "workers: 2", "workers: 0", r"params\.yaml: cluster\.workers: Input should be greater than 0"),
    ],
)
def test_wrong_parameters_are_refused(root: Path, file: str, old: str, new: str, message: str) -> None:
    path = root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ParameterError, match=message):
        validate(root)


def test_a_file_in_another_encoding_is_refused(root: Path) -> None:
    (root / "params.yaml").write_bytes((root / "params.yaml").read_bytes() + "# für".encode("latin-1"))
    with pytest.raises(ParameterError, match=r"params\.yaml: not UTF-8 .*; save it as UTF-8"):
        validate(root)


def test_the_nearest_file_wins_and_is_named(root: Path) -> None:
    parameters = Parameters(root, "405b")
    assert list(parameters.trees)[1:] == [f"scales/{name}.yaml" for name in ("405b", "base/cluster", "base/common")]
    for key, file in (
        ("training.checkpoint_seconds", "405b"),
        ("tokenizer.vocab_size", "base/cluster"),
        ("training.precision", "base/common"),
    ):
        assert parameters.file_of(key) == f"scales/{file}.yaml"
    assert parameters.select(["training"])["training"]["checkpoint_seconds"] == 600


def test_a_stage_does_not_run_with_other_parameters_than_dvc_has_seen(root: Path) -> None:
    parameters = Parameters(root)
    parameters.check_resolved(["seed", "tokenizer"])  # nothing has been resolved
    (root / RESOLVED).parent.mkdir()
    (root / RESOLVED).write_text(yaml.safe_dump(parameters.tracked(parameters.resolved) | {"seed": 2}))
    parameters.check_resolved(["tokenizer", "curation.heuristics"])
    with pytest.raises(
        ParameterError, match=r"seed: changed since data/parameters\.yaml was written; run `dvc repro check`"
    ):
        parameters.check_resolved(["seed", "tokenizer"])


def test_a_changed_parameter_concerns_only_the_stages_that_read_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    seed = 'seed: Annotated[int, "seed"]'
    project.edit("stages/mini/source.py", seed, f'{seed}\n    rounds: Annotated[int, "posttraining.rounds"]')
    check = "{cmd: python -m flows.check, deps: [params.yaml, scales], outs: [data/parameters.yaml]}"
    project.edit("dvc.yaml", "stages:\n", f"stages:\n  check: {check}\n")
    project.edit("dvc.yaml", "params: [seed]", "params: [{data/parameters.yaml: [seed, posttraining.rounds]}]")
    project.edit(
        "dvc.yaml", '[trouble, {"scales/${scale}.yaml": [train]}]', "[{data/parameters.yaml: [trouble, train]}]"
    )
    project.repro(HERD_TRACKING="off")
    assert Dag.read(project.root).stale() == []

    project.edit("params.yaml", "scale: smoke", "cluster: {workers: 2}\nscale: smoke")
    assert Dag.read(project.root).stale() == ["check"]
    assert project.repro(HERD_TRACKING="off").count("didn't change") == 5

    project.edit("scales/smoke.yaml", "rate: 0.5", "rate: 0.25")
    project.edit("params.yaml", "trouble:", "# the same value in another file\nposttraining: {rounds: 1}\ntrouble:")
    project.edit("scales/smoke.yaml", "posttraining: {rounds: 1}\n", "")
    assert Dag.read(project.root).stale() == ["check", "train@small", "train@flagship", "report"]
    output = project.repro(HERD_TRACKING="off")
    assert "'source' didn't change" in output and "'count' didn't change" in output


def test_dvc_can_merge_what_check_writes(root: Path) -> None:
    """`dvc params diff` merges the sections of all stages, which fails for keys that are numbers."""
    parameters = Parameters(root)
    keys = [key for module in stage_modules(root) for key in config_keys(importlib.import_module(module).Config)]
    path = root / "parameters.yaml"
    path.write_text(yaml.safe_dump(parameters.tracked(parameters.resolved)))
    found = read_param_file(LocalFileSystem(), str(path), keys)
    assert found["curation"]["heuristics"]["repetition"]["prose"]["top"]["2"] == 0.2
