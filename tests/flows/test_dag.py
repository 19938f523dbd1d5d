"""dvc.yaml against the code: DVC decides what is stale, so its dependencies must be what the stages really use."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import deps
from flows.execution.dag import Dag
from flows.parameters import config_keys, stage_modules

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    name: stage.get("do", stage)
    for pipeline in deps.PIPELINES
    for name, stage in yaml.safe_load((ROOT / pipeline).read_text())["stages"].items()
}
RUN = {name: stage for name, stage in STAGES.items() if " flows.stage " in stage["cmd"]}


def module_of(stage: dict) -> str:
    return f"stages.{stage['cmd'].split()[3]}"


def listed(stage: dict) -> set[str]:
    """The files that a stage's dependencies on code stand for."""
    paths = [ROOT / dep for dep in stage["deps"] if re.match("(flows|stages)/", dep)]
    assert all(path.exists() for path in paths)
    files = {file for path in paths for file in (path.rglob("*.*") if path.is_dir() else [path])}
    return {file.relative_to(ROOT).as_posix() for file in files if file.suffix != ".pyc"}


@pytest.mark.parametrize("pipeline", deps.PIPELINES)
def test_dependencies_are_those_that_herd_deps_writes(pipeline: str) -> None:
    text = deps.update(ROOT, pipeline, deps.Code(ROOT))
    assert (ROOT / pipeline).read_text() == text, "run `herd deps`"


def test_the_default_run_has_no_ablations() -> None:
    assert not any(name.startswith("ablations") for name in Dag.read(ROOT).stages)


@pytest.mark.parametrize("file", sorted((ROOT / "scales/ablations").glob("*.yaml")))
def test_ablations_have_the_parameters_that_are_read(file: Path) -> None:
    modules = stage_modules(ROOT, "ablations/dvc.yaml")
    read = {key for module in modules for key in config_keys(importlib.import_module(module).Config)}
    tree = yaml.safe_load(file.read_text())
    assert {f"ablations.{key}" for key in tree["ablations"]} == {key for key in read if key.startswith("ablations.")}


RUN_IN_A_PROCESS = """
import importlib, json, sys
from pathlib import Path
from flows.parameters import Parameters
from tests.recorder import Recorder
before, scratch = set(sys.modules), Path(sys.argv[2])
module = importlib.import_module(sys.argv[1])
if sys.argv[3:]:
    outputs = {name: scratch for name in sys.argv[3:]}
    module.run(Parameters(Path.cwd(), "smoke").load_config(module.Config), {}, outputs, Recorder(scratch))
print(json.dumps([getattr(sys.modules[name], "__file__", None) for name in sorted(set(sys.modules) - before)]))
"""


@pytest.mark.parametrize(
    ("module", "outputs"),
    [
        ("stages.posttraining.prompts", ["prompts"]),
        ("stages.curation.gold", []),
        ("stages.pretraining.initial", []),
        ("stages.safety.suite", []),
        ("stages.ablations.annealing", []),
    ],
)
def test_what_a_process_imports_is_listed(module: str, outputs: list[str], tmp_path: Path) -> None:
    """What Python has imported after a run of the stage, or after its import, against the import graph."""
    command = [sys.executable, "-c", RUN_IN_A_PROCESS, module, str(tmp_path), *outputs]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {Path(file) for file in json.loads(output) if file and Path(file).is_relative_to(ROOT / "stages")}
    used = {name for file in files if deps.has_code(ROOT, name := file.relative_to(ROOT).as_posix())} - deps.NEUTRAL
    assert used and all(used <= listed(stage) for stage in RUN.values() if module_of(stage) == module)


@pytest.mark.parametrize(
    ("changed", "stale", "fresh"),
    [
        ("stages/model/generate.py", {"preferences", "evaluate"}, {"pretrain", "isoflops", "fit", "long_context"}),
        ("stages/model/llama.py", {"pretrain", "isoflops", "safety"}, {"dedup", "encode", "report"}),
        ("stages/tasks/sandbox_child.py", {"evaluate", "rejection"}, {"pretrain", "dedup", "tokenizer"}),
        ("stages/curation/extraction/gold.yaml", {"gold"}, {"extract", "acquire"}),
        ("stages/report/page.html.j2", {"report"}, {"evaluate"}),
        ("stages/tasks/definitions/arithmetic.py", {"acquire", "evaluate"}, {"extract", "dedup"}),
        ("stages/distributed/layout.py", {"pretrain", "sft", "safety_tuning"}, {"isoflops", "encode"}),
    ],
)
def test_a_change_of_a_file_concerns_the_stages_that_use_it(changed: str, stale: set[str], fresh: set[str]) -> None:
    concerned = {name for name, stage in RUN.items() if changed in listed(stage)}
    assert stale <= concerned and not fresh & concerned


@pytest.mark.parametrize("name", RUN)
def test_paths_in_the_command_are_dependencies_and_outputs(name: str) -> None:
    stage, words = RUN[name], RUN[name]["cmd"].split()
    options = {
        flag: {words[i + 1].partition("=")[2] or words[i + 1] for i, word in enumerate(words) if word == flag}
        for flag in ("--in", "--out", "--metrics")
    }
    plain = lambda entries: {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}  # noqa: E731
    data = {dep for dep in stage["deps"] if not dep.startswith("stages/")}
    assert options["--in"] <= data
    assert data - options["--in"] <= {"data.lock.yaml"}
    assert options["--out"] == plain(stage.get("outs", [])) | plain(stage.get("plots", []))
    assert options["--metrics"] == plain(stage["metrics"])


def test_a_stage_with_hand_written_entries_only_gets_the_others(tmp_path: Path) -> None:
    text = (
        "stages:\n  a:\n    cmd: python -m flows.stage curation.pii  # why\n\n  # a comment\n  b:\n    cmd: echo 1 2\n"
    )
    (tmp_path / "dvc.yaml").write_text(text)
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    new = deps.update(tmp_path, "dvc.yaml", deps.Code(tmp_path))
    stages = yaml.safe_load(new)["stages"]
    assert stages["a"]["params"] == [{"data/parameters.yaml": ["curation.pii"]}]
    assert "stages/curation/pii.py" in stages["a"]["deps"] and "# a comment" in new and "# why" in new
