"""Write into dvc.yaml which code each stage imports and which parameters it declares.

Examples:
    herd deps            # updates dvc.yaml and ablations/dvc.yaml
    herd deps --check    # exits with 1 if they are out of date

Everything else in these files is written by hand: commands, outputs, and dependencies outside flows/ and stages/.
"""

import argparse
import ast
import importlib
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import yaml

from flows import command
from flows.execution.launcher import DISTRIBUTED_STAGES
from flows.parameters import config_keys
from flows.parameters.edit import Edit, apply, entry, parse, set_entry
from flows.parameters.resolve import RESOLVED
from flows.project import ROOT

PIPELINES = ("dvc.yaml", "ablations/dvc.yaml")
NOT_IMPORTED = {
    "stages.curation.extraction.gold_labels": ["stages/curation/extraction/gold.yaml"],
    "stages.report.page": ["stages/report/page.html.j2"],
    "stages.safety.judges": ["stages/safety/labelled_answers.jsonl"],
    "stages.tasks": ["stages/tasks/definitions/*.py"],
    "stages.tasks.sandbox": ["stages/tasks/sandbox_child.py"],
}
"""Module -> files that it uses without an import statement: loaded by name, run in a child process, or read."""
NEUTRAL = {"stages/interface.py", "flows/command.py", "flows/project.py"}
"""Imported by every stage or command, and without effect on what any of them computes."""


class Code:
    """The files of flows/ and stages/ that modules need, imports inside functions included."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._graph = grimp.build_graph("flows", "stages", exclude_type_checking_imports=True, cache_dir=None)

    def imports(self, module: str) -> set[str]:
        """The modules that a module imports itself."""
        return self._graph.find_modules_directly_imported_by(module)

    def files(self, roots: Iterable[str]) -> set[str]:
        """The files needed by some modules, except `NEUTRAL` and packages without code."""
        waiting, modules, files = list(roots), set[str](), set[str]()
        while waiting:
            module = waiting.pop()
            if module in modules or module not in self._graph.modules:
                continue
            modules.add(module)
            if self._file_of(module) in NEUTRAL:
                continue
            waiting += [module.rpartition(".")[0], *self.imports(module)]
            files.add(self._file_of(module))
            for pattern in NOT_IMPORTED.get(module, ()):
                found = [path.relative_to(self._root).as_posix() for path in self._root.glob(pattern)]
                files.update(found)
                waiting += [name.removesuffix(".py").replace("/", ".") for name in found]
        return {name for name in files if has_code(self._root, name)}

    def compress(self, files: set[str]) -> list[str]:
        """`files`, with a folder in place of its files where all of them are there; sorted."""
        found = set[str]()
        for name in files:
            folders = [folder.as_posix() for folder in Path(name).parents][-3::-1]  # from stages/x to the innermost
            found.add(next((folder for folder in folders if _contents(self._root, folder) <= files), name))
        return sorted(found)

    def _file_of(self, module: str) -> str:
        path = module.replace(".", "/")
        return f"{path}.py" if (self._root / f"{path}.py").exists() else f"{path}/__init__.py"


@cache
def _contents(root: Path, folder: str) -> set[str]:
    paths = (path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {name for path in paths if has_code(root, name := path.relative_to(root).as_posix())}


@cache
def has_code(root: Path, name: str) -> bool:
    """Whether a file is more than a package's docstring."""
    if not name.endswith("__init__.py"):
        return True
    body = ast.parse((root / name).read_text(encoding="utf-8")).body
    return not all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in body)


def update(root: Path, pipeline: str, code: Code) -> str:
    """The text of a dvc.yaml with the dependencies of every stage brought up to date."""
    text = (root / pipeline).read_text(encoding="utf-8")
    stages = entry(parse(text), "stages")
    assert stages is not None
    edits = [edit for _, stage in stages.value for edit in _edits(entry(stage, "do") or stage, code)]
    return apply(text, edits)


def _edits(stage: yaml.Node, code: Code) -> Iterator[Edit]:
    cmd, deps = entry(stage, "cmd"), entry(stage, "deps")
    assert cmd is not None
    words, indent = str(cmd.value).split(), stage.start_mark.column
    modules = [words[2]] if words[1] == "-m" else []
    data = [str(item.value) for item in (deps.value if deps else []) if not re.match(r"(flows|stages)/", item.value)]
    if words[2] == "flows.stage":
        modules = [f"stages.{words[3]}"]
        if words[3] in DISTRIBUTED_STAGES:  # what the ranks run, which the stage itself does not import
            modules += [module for module in code.imports("flows.execution.launcher") if module.startswith("stages.")]
        keys = config_keys(importlib.import_module(modules[0]).Config)
        if keys:
            params = _format_list("params", [f"{RESOLVED}: [{', '.join(keys)}]"], indent)
            yield set_entry(stage, "params", params, after=deps or cmd)
    files = code.compress(code.files(modules))
    if data or files:
        yield set_entry(stage, "deps", _format_list("deps", data, indent, files), after=cmd)


def _format_list(key: str, first: list[str], indent: int, second: Iterable[str] = ()) -> str:
    """An entry with a list, in lines of at most 120 columns; `second` begins a new line if not all fits into one."""
    parts = [", ".join(f'"{item}"' if "${" in item else item for item in items) for items in (first, second)]
    parts = [part for part in parts if part]
    line = f"{key}: [{', '.join(parts)}]"
    if indent + len(line) <= 120:
        return line
    wrapped = _wrap(f"{key}: [{parts[0]}", indent)
    for part in parts[1:]:
        wrapped[-1] += ","
        wrapped += _wrap(f"  {part}", indent)
    return f"\n{' ' * indent}".join(wrapped) + "]"


def _wrap(text: str, indent: int) -> list[str]:
    options: dict[str, Any] = {"subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, 119 - indent, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something would change")


def main(options: argparse.Namespace) -> int:
    code, changed = Code(ROOT), []
    for pipeline in PIPELINES:
        text = update(ROOT, pipeline, code)
        if text != (ROOT / pipeline).read_text(encoding="utf-8"):
            changed.append(pipeline)
            if not options.check:
                (ROOT / pipeline).write_text(text, encoding="utf-8")
    verb = "out of date, run `herd deps`" if options.check else "updated"
    print(f"deps: {verb}: {', '.join(changed)}" if changed else "deps: up to date")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
