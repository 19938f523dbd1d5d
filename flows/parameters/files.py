"""Reads the YAML files of the parameters: params.yaml, and a scale with the bases it builds on.

A scale file may name another file: `base: NAME` is scales/base/NAME.yaml, which may name a base itself. The nearer file
wins. Mappings are merged key by key; everything else, lists too, is replaced.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stages.interface import StageError

Tree = dict[str, Any]


class ParameterError(StageError):
    """A parameter is unknown, missing, of the wrong type, or impossible; names file, key and what is allowed."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return node


def read_yaml(root: Path, name: str) -> Tree:
    """The mapping in a file of the project; ParameterError if there is none."""
    try:
        tree = yaml.load((root / name).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParameterError(f"{name}: not found in {root}") from None
    except UnicodeDecodeError as error:
        raise ParameterError(f"{name}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ParameterError(f"{name}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ParameterError(f"{name}: expected a mapping of sections")
    return tree


def scale_names(root: Path) -> list[str]:
    """The scales that can be chosen."""
    return sorted(path.stem for path in (root / "scales").glob("*.yaml"))


def read_scale(root: Path, scale: str) -> dict[str, Tree]:
    """File name -> content, of a scale's file and the bases it builds on, the nearest first, and of its ablations."""
    files: dict[str, Tree] = {}
    name, source = f"scales/{scale}.yaml", "scale"
    while name:
        if name in files or not (root / name).exists():
            bases = ", ".join(sorted(path.stem for path in (root / "scales/base").glob("*.yaml")))
            fault = "is a base of itself" if name in files else f"does not exist; bases are {bases or 'none'}"
            raise ParameterError(f"{source}: base: {name} {fault}")
        files[name] = read_yaml(root, name)
        base, source = files[name].pop("base", None), name
        name = f"scales/base/{base}.yaml" if base is not None else ""
    ablations = f"scales/ablations/{scale}.yaml"
    return files | ({ablations: read_yaml(root, ablations)} if (root / ablations).exists() else {})


def override(base: Tree, nearer: Tree) -> Tree:
    """`base` with the values of `nearer`; mappings are merged key by key."""
    merged = dict(base)
    for key, value in nearer.items():
        old = merged.get(key)
        merged[key] = override(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def leaf_keys(tree: Tree, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaf_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def with_string_keys(tree: Any) -> Any:
    """`tree` with a string in place of each key."""
    if isinstance(tree, list):
        return [with_string_keys(item) for item in tree]
    return {str(key): with_string_keys(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def has_key(tree: Any, key: str) -> bool:
    """Whether `tree` has a value at a dotted key."""
    return get_value(tree, key, default=_MISSING) is not _MISSING


def get_value(tree: Any, key: str, default: Any = None) -> Any:
    """The value at a dotted key, or `default`."""
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return default
        tree = tree[part]
    return tree


_MISSING = object()
