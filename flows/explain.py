"""Explain parameters: value at the current scale, limits, unit and source.

Examples:
    herd explain                          # all parameters
    herd explain pretraining.annealing    # keys that begin with this
    herd explain clip                     # keys that contain this, if none begins with it
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterator
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel

from flows import command
from flows.parameters import Cluster, Parameters, config_sections, stage_modules
from flows.project import ROOT
from stages.interface import StageError

LIMITS: dict[type, str] = {
    Ge: "at least {0.ge}",
    Gt: "above {0.gt}",
    Le: "at most {0.le}",
    Lt: "below {0.lt}",
    MinLen: "at least {0.min_length} of them",
    MaxLen: "at most {0.max_length} of them",
}
"""How a constraint of a field is printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="the beginning or a part of the keys")


def main(options: argparse.Namespace) -> None:
    print("\n".join(find_parameters(options.key)))


def find_parameters(query: str) -> list[str]:
    """The text of each parameter whose key begins with `query`, or else contains it; StageError if none does."""
    texts = dict(describe_parameters())
    found = [text for key, text in texts.items() if key.startswith(query)]
    found = found or [text for key, text in texts.items() if query in key]
    if not found:
        names = dict.fromkeys(".".join(key.split(".")[:end]) for key in texts for end in range(1, key.count(".") + 2))
        close = ", ".join(difflib.get_close_matches(query, names, n=3))
        raise StageError(f"no parameter has {query!r} in its key" + (f"; did you mean {close}?" if close else ""))
    return found


def describe_parameters() -> Iterator[tuple[str, str]]:
    """(key, text) of every parameter, each once."""
    parameters = Parameters(ROOT)
    has_ablations = "ablations" in parameters.resolved
    modules = stage_modules(ROOT) + (stage_modules(ROOT, "ablations/dvc.yaml") if has_ablations else [])
    yield from describe_section("cluster", Cluster, parameters.resolved.get("cluster"))
    seen: set[str] = set()
    for module in modules:
        for _, key, kind in config_sections(importlib.import_module(module).Config):
            for name, text in describe_section(key, kind, parameters.select([key])[key]):
                if name not in seen:
                    seen.add(name)
                    yield name, text


def describe_section(key: str, kind: Any, value: Any) -> Iterator[tuple[str, str]]:
    """(key, text) of the fields of a section and of the sections in it."""
    section = kind if isinstance(kind, type) else next((a for a in get_args(kind) if isinstance(a, type)), None)
    if not (section and issubclass(section, BaseModel)):
        yield key, f"{key} = {value}"
        return
    for name, field in section.model_fields.items():
        is_set = isinstance(value, dict) and name in value
        inner = value[name] if is_set else field.get_default(call_default_factory=True)
        path = f"{key}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from describe_section(path, field.annotation, inner)
        else:
            limits = ", ".join(LIMITS.get(type(limit), "{0}").format(limit) for limit in field.metadata)
            description = " ".join((field.description or "").split())
            origin = "" if is_set else " (default)"
            yield path, f"{path} = {inner}{origin}{f'  [{limits}]' if limits else ''}\n    {description}"


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
