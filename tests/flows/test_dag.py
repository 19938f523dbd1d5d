"""dvc.yaml against the code: DVC decides what is stale, so what it is told must be what the stages really use."""

import importlib
from pathlib import Path

import grimp
import pytest
import yaml

from flows.execution.dag import Dag
from flows.parameters import config_keys, stage_modules

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    name: stage.get("do", stage)
    for pipeline in ("dvc.yaml", "ablations/dvc.yaml")
    for name, stage in yaml.safe_load((ROOT / pipeline).read_text())["stages"].items()
}
RUN = {name: stage for name, stage in STAGES.items() if " flows.stage " in stage["cmd"]}
SCALES = sorted(path.stem for path in (ROOT / "scales").glob("*.yaml"))


def module_of(stage: dict) -> str:
    return f"stages.{stage['cmd'].split()[3]}"


@pytest.fixture(scope="module")
def imported() -> dict[str, tuple[set[str], list[str]]]:
    """For each stage module: the files under stages/ it imports, anywhere in it, and the parameter keys it declares."""
    graph = grimp.build_graph("stages")
    found = {}
    for module in sorted({module_of(stage) for stage in RUN.values()}):
        modules = {module} | graph.find_upstream_modules(module)
        files = {name.replace(".", "/") + ".py" for name in modules}
        keys = config_keys(importlib.import_module(module).Config)
        found[module] = ({file for file in files if (ROOT / file).exists()}, keys)
    return found


def holds(tree: dict, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RUN)
def test_parameters_tracked_are_those_read(name: str, scale: str, imported) -> None:
    keys = imported[module_of(RUN[name])][1]
    tracked: dict[str, set[str]] = {"params.yaml": set()}
    for entry in RUN[name].get("params", []):
        if isinstance(entry, dict):
            tracked |= {file.replace("${scale}", scale): set(keys) for file, keys in entry.items()}
        else:
            tracked["params.yaml"].add(entry)
    files = {"params.yaml", f"scales/{scale}.yaml", *tracked}
    if not all((ROOT / file).exists() for file in files):
        pytest.skip(f"the ablations have no parameters of the scale {scale}")
    trees = {file: yaml.safe_load((ROOT / file).read_text()) for file in files}
    for file, tree in trees.items():
        assert tracked.get(file, set()) == {key for key in keys if holds(tree, key)}


def test_the_default_run_has_no_ablations() -> None:
    assert not any(name.startswith("ablations") for name in Dag.read(ROOT).stages)


@pytest.mark.parametrize("file", sorted((ROOT / "ablations").glob("*.yaml")))
def test_ablations_have_the_parameters_that_are_read(file: Path) -> None:
    if file.name == "dvc.yaml":
        return
    modules = stage_modules(ROOT, "ablations/dvc.yaml")
    read = {key for module in modules for key in config_keys(importlib.import_module(module).Config)}
    tree = yaml.safe_load(file.read_text())
    assert {f"ablations.{key}" for key in tree["ablations"]} == {key for key in read if key.startswith("ablations.")}


# Imported by every stage, and without effect on what any of them computes.
NEUTRAL = {"stages/__init__.py", "stages/interface.py"}


@pytest.mark.parametrize("name", RUN)
def test_code_tracked_is_the_code_imported(name: str, imported) -> None:
    files = {file for file in imported[module_of(RUN[name])][0] if not file.endswith("__init__.py")} - NEUTRAL
    code = [dep for dep in RUN[name]["deps"] if dep.startswith("stages/")]
    untracked = {f for f in files if not any(f == dep or f.startswith(dep + "/") for dep in code)}
    assert not untracked, f"{name} imports {sorted(untracked)}, which dvc.yaml does not list"
    unused = [dep for dep in code if not any(f == dep or f.startswith(dep + "/") for f in files)]
    assert not unused, f"{name} lists {unused}, of which it imports nothing"


@pytest.mark.parametrize("name", RUN)
def test_paths_in_the_command_are_dependencies_and_outputs(name: str) -> None:
    stage, words = RUN[name], RUN[name]["cmd"].split()
    told = {
        flag: {words[i + 1].partition("=")[2] or words[i + 1] for i, word in enumerate(words) if word == flag}
        for flag in ("--in", "--out", "--metrics")
    }
    plain = lambda entries: {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}  # noqa: E731
    data = {dep for dep in stage["deps"] if not dep.startswith("stages/")}
    assert told["--in"] <= data
    assert data - told["--in"] <= {"data/parameters.ok", "data.lock.yaml"}
    assert told["--out"] == plain(stage.get("outs", [])) | plain(stage.get("plots", []))
    assert told["--metrics"] == plain(stage["metrics"])
