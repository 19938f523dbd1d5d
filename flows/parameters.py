"""Reading, merging and checking params.yaml and scales/<scale>.yaml.

Every parameter stands in exactly one of the two files. What exists is the union of what the stages declare
(`stages.interface`): a key that no stage reads is refused, so a misspelt one cannot pass unnoticed.
"""

import difflib
import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.execution.executors import Cluster
from stages.interface import StageError

Tree = dict[str, Any]


class ParameterError(StageError):
    """A parameter is unknown, missing, of the wrong type, or impossible; names file, key and what is allowed."""


class Parameters:
    """The merged tree of both files, and which file each key came from; with `scale`, as if params.yaml named it.
    `more`: files of another pipeline's keys."""

    def __init__(self, root: Path, scale: str | None = None, more: Sequence[str] = ()) -> None:
        self.root = root
        common = _read(root / "params.yaml")
        if scale is not None:
            common["scale"] = scale
        self.scale = str(common.get("scale", ""))
        scales = sorted(path.stem for path in (root / "scales").glob("*.yaml"))
        if self.scale not in scales:
            where = "params.yaml: scale" if scale is None else "scale"
            raise ParameterError(f"{where}: {self.scale!r} is not one of {', '.join(scales)}")
        self.files = ("params.yaml", f"scales/{self.scale}.yaml", *more)
        self.trees = (common, *(_read(root / name) for name in self.files[1:]))
        self.merged: Tree = {}
        for number, tree in enumerate(self.trees):
            earlier = " or ".join(self.files[:number])
            self.merged = _merge(self.merged, tree, where="", files=(earlier, self.files[number]))

    def file_of(self, key: str) -> str:
        """The file in which `key` stands, or both where it stands in neither."""
        holders = [name for name, tree in zip(self.files, self.trees, strict=True) if _has(tree, key)]
        return holders[0] if len(holders) == 1 else " or ".join(self.files)

    def read(self, config_class: type) -> Any:
        """An instance of a stage's Config, every section checked."""
        return config_class(**{field: self._section(key, kind) for field, key, kind in declared(config_class)})

    @property
    def cluster(self) -> Cluster:
        """The section `cluster`, which no stage reads; all its keys are optional."""
        return self._section("cluster", Cluster) if _has(self.merged, "cluster") else Cluster()

    def values(self, keys: Iterable[str]) -> Tree:
        """The raw values of `keys`."""
        return {key: _get(self.merged, key) for key in keys}

    def refuse_unknown(self, known: Mapping[str, Any]) -> None:
        """Raises for a key of either file that lies under none of the declared sections."""
        for name, tree in zip(self.files, self.trees, strict=True):
            for key in _leaves(tree):
                if not any(key == section or key.startswith(section + ".") for section in known):
                    guess = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                    hint = f"; did you mean {guess[0]}?" if guess else f"; known sections: {', '.join(sorted(known))}"
                    raise ParameterError(f"{name}: {key}: no stage reads this key{hint}")

    def _section(self, key: str, kind: Any) -> Any:
        if not _has(self.merged, key):
            raise ParameterError(f"{self.file_of(key)}: {key}: is missing")
        try:
            return TypeAdapter(kind).validate_python(_get(self.merged, key))
        except ValidationError as error:
            raise ParameterError("\n".join(self._explain(key, kind, problem) for problem in error.errors())) from None

    def _explain(self, key: str, kind: Any, problem: Mapping[str, Any]) -> str:
        path = ".".join([key, *(str(part) for part in problem["loc"])])
        text = f"{self.file_of(path)}: {path}: "
        if problem["type"] == "extra_forbidden":
            allowed = sorted(getattr(kind, "model_fields", {}))
            return text + (f"unknown key; {key} takes {', '.join(allowed)}" if allowed else "unknown key")
        if problem["type"] == "missing":
            return text + "is missing"
        return text + f"{problem['msg']} (got {problem['input']!r})"


def declared(config_class: type) -> Iterator[tuple[str, str, Any]]:
    """(field, parameter key, type) of each section a stage's Config declares."""
    for field, hint in get_type_hints(config_class, include_extras=True).items():
        *constraints, key = hint.__metadata__
        yield field, key, Annotated[hint.__origin__, *constraints] if constraints else hint.__origin__


def given(config_class: type, values: Mapping[str, Any]) -> Any:
    """An instance of a stage's Config of raw values by key, as manifests have them; ValueError where they do not."""
    try:
        return config_class(
            **{field: TypeAdapter(kind).validate_python(values[key]) for field, key, kind in declared(config_class)}
        )
    except KeyError as error:
        raise ValueError(f"no {error}") from None


def decisive(config_class: type, values: Mapping[str, Any]) -> Tree:
    """The values of a stage's sections without the fields that change no result."""
    inert = {f"{key}.{field}" for _, key, kind in declared(config_class) for field in getattr(kind, "inert", ())}

    def needed(key: str, value: Any) -> Any:
        return {name: part for name, part in value.items() if f"{key}.{name}" not in inert}

    return {key: needed(key, value) if isinstance(value, dict) else value for key, value in values.items()}


def stage_modules(root: Path, pipeline: str = "dvc.yaml") -> list[str]:
    """The stage modules named by the commands of a dvc.yaml, each once, in its order."""
    found: dict[str, None] = {}
    for stage in _read(root / pipeline)["stages"].values():
        words = str(stage.get("do", stage)["cmd"]).split()
        if words[1:3] == ["-m", "flows.stage"]:
            found[f"stages.{words[3]}"] = None
    return list(found)


def check(root: Path) -> Parameters:
    """Both files against what all stages declare; raises ParameterError at the first fault."""
    parameters = Parameters(root)
    known: dict[str, Any] = {
        "scale": str,
        "rounds": dict,
        "last_round": str,
        "cluster": Cluster,
        "budget_minutes": float,
    }
    for module in stage_modules(root):
        config_class = importlib.import_module(module).Config
        parameters.read(config_class)
        known |= {key: kind for _, key, kind in declared(config_class)}
    _ = parameters.cluster  # raises where it is wrong
    parameters.refuse_unknown(known)
    return parameters


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _read(path: Path) -> Tree:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParameterError(f"{path.name}: not found in {path.parent}") from None
    except yaml.YAMLError as error:
        raise ParameterError(f"{path.name}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ParameterError(f"{path.name}: expected a mapping of sections")
    return tree


def _merge(a: Tree, b: Tree, where: str, files: tuple[str, str]) -> Tree:
    merged = dict(a)
    for key, value in b.items():
        path = f"{where}{key}"
        if key in a and not (isinstance(a[key], dict) and isinstance(value, dict)):
            raise ParameterError(f"{path}: stands in {files[0]} and in {files[1]}; keep one")
        merged[key] = _merge(a[key], value, f"{path}.", files) if key in a else value
    return merged


def _has(tree: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def _get(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _leaves(tree: Tree, where: str = "") -> Iterator[str]:
    for key, value in tree.items():
        path = f"{where}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path
