"""Resolves the parameters of one scale.

Each parameter is set in params.yaml or in the scale's files, never in both. The keys that exist are those that the
stages declare (`stages.interface`): a key that no stage reads is refused, so a typing error cannot pass unnoticed.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flows.parameters import files
from flows.parameters.cluster import Cluster
from flows.parameters.config import config_keys, config_sections, stage_modules
from flows.parameters.files import ParameterError, Tree

OTHER_KEYS = ("scale", "rounds", "cluster", "budget_minutes")
"""Keys that are read by the commands and by dvc.yaml, not by a stage."""
RESOLVED = "data/parameters.yaml"
"""Written by `check`: the parameters of the chosen scale, which DVC compares with those that a stage has read."""


class Parameters:
    """The parameters of a project at the scale in params.yaml, or at `scale`."""

    def __init__(self, root: Path, scale: str | None = None) -> None:
        self.root = root
        common = files.read_yaml(root, "params.yaml")
        if scale is not None:
            common["scale"] = scale
        self.scale = str(common.get("scale", ""))
        scales = files.scale_names(root)
        if self.scale not in scales:
            where = "params.yaml: scale" if scale is None else "scale"
            raise ParameterError(f"{where}: {self.scale!r} is not one of {', '.join(scales)}")
        scale_files = files.read_scale(root, self.scale)
        self.trees = {"params.yaml": common, **scale_files}
        """File name -> content; of the scale's files the nearest first."""
        self.scale_file = next(iter(scale_files))
        resolved: Tree = {}
        for tree in reversed(scale_files.values()):
            resolved = files.override(resolved, tree)
        self.resolved = self._join(common, resolved)

    def file_of(self, key: str) -> str:
        """The file that sets `key`, the nearest where bases do; the files that may set it where none does."""
        holders = [name for name, tree in self.trees.items() if files.has_key(tree, key)]
        return holders[0] if holders else " or ".join(self.trees)

    def load_config(self, config_class: type) -> Any:
        """A stage's Config, with every section checked."""
        return config_class(**{field: self._section(key, kind) for field, key, kind in config_sections(config_class)})

    @property
    def cluster(self) -> Cluster:
        """The section `cluster`, which no stage reads; all its keys are optional."""
        return self._section("cluster", Cluster) if "cluster" in self.resolved else Cluster()

    def select(self, keys: Iterable[str]) -> Tree:
        """The raw values of `keys`."""
        return {key: files.get_value(self.resolved, key) for key in keys}

    def tracked(self, keys: Iterable[str]) -> Tree:
        """The values of `keys` as `check` writes them for DVC, whose `params diff` fails at keys that are numbers."""
        return files.with_string_keys(self.select(keys))

    def reject_unknown_keys(self, known: Iterable[str]) -> None:
        """Raises ParameterError for a key that belongs to none of the `known` sections."""
        known = sorted(known)
        for name, tree in self.trees.items():
            for key in files.leaf_keys(tree):
                if not any(key == section or key.startswith(section + ".") for section in known):
                    guess = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                    hint = f"did you mean {guess[0]}?" if guess else f"known sections: {', '.join(known)}"
                    raise ParameterError(f"{name}: {key}: no stage reads this key; {hint}")

    def check_resolved(self, keys: Iterable[str]) -> None:
        """Raises ParameterError if `RESOLVED`, by which DVC decides what is stale, has other values of `keys`."""
        if not (self.root / RESOLVED).exists():
            return
        resolved = files.read_yaml(self.root, RESOLVED)
        changed = [key for key, value in self.tracked(keys).items() if files.get_value(resolved, key) != value]
        if changed:
            raise ParameterError(
                f"{', '.join(changed)}: changed since {RESOLVED} was written; run `dvc repro check`, or `herd repro`"
            )

    def _join(self, a: Tree, b: Tree, prefix: str = "") -> Tree:
        joined = dict(a)
        for key, value in b.items():
            old, path = a.get(key), f"{prefix}{key}"
            if key in a and not (isinstance(old, dict) and isinstance(value, dict)):
                holders = [name for name, tree in self.trees.items() if files.has_key(tree, path)]
                raise ParameterError(f"{path}: set in {' and in '.join(holders)}; keep one")
            joined[key] = self._join(old, value, f"{path}.") if isinstance(old, dict) else value
        return joined

    def _section(self, key: str, kind: Any) -> Any:
        if not files.has_key(self.resolved, key):
            raise ParameterError(f"{self.file_of(key)}: {key}: is missing")
        try:
            return TypeAdapter(kind).validate_python(files.get_value(self.resolved, key))
        except ValidationError as error:
            problems = [self._format_error(key, kind, problem) for problem in error.errors()]
            raise ParameterError("\n".join(problems)) from None

    def _format_error(self, key: str, kind: Any, problem: Mapping[str, Any]) -> str:
        path = ".".join([key, *(str(part) for part in problem["loc"])])
        text = f"{self.file_of(path)}: {path}: "
        if problem["type"] == "extra_forbidden":
            allowed = sorted(getattr(kind, "model_fields", {}))
            return text + (f"unknown key; {key} takes {', '.join(allowed)}" if allowed else "unknown key")
        if problem["type"] == "missing":
            return text + "is missing"
        return text + f"{problem['msg']} (got {problem['input']!r})"


def resolved_file(scale: str | None = None) -> str:
    """Where `check` writes the parameters of a scale, or of the chosen one."""
    return RESOLVED if scale is None else RESOLVED.replace(".yaml", f"-{scale}.yaml")


def validate(root: Path, scale: str | None = None) -> Parameters:
    """The parameters of a scale, checked against what all stages declare; ParameterError at the first fault."""
    parameters = Parameters(root, scale)
    pipelines = ["dvc.yaml", "ablations/dvc.yaml"] if "ablations" in parameters.resolved else ["dvc.yaml"]
    known = {*OTHER_KEYS}
    for module in [module for pipeline in pipelines for module in stage_modules(root, pipeline)]:
        config_class = importlib.import_module(module).Config
        parameters.load_config(config_class)
        known |= set(config_keys(config_class))
    _ = parameters.cluster  # raises where it is wrong
    parameters.reject_unknown_keys(known)
    return parameters
