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

WORDS: dict[type, str] = {
    Ge: "at least {0.ge}",
    Gt: "above {0.gt}",
    Le: "at most {0.le}",
    Lt: "below {0.lt}",
    MinLen: "at least {0.min_length} of them",
    MaxLen: "at most {0.max_length} of them",
}
"""A field's limits as people say them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="the beginning or a part of the keys")


def main(options: argparse.Namespace) -> None:
    print("\n".join(explained(options.key)))


def explained(wanted: str) -> list[str]:
    """The text of each parameter whose key begins with `wanted`, or else has it in it; StageError where none has."""
    every = dict(lines())
    found = [text for key, text in every.items() if key.startswith(wanted)]
    found = found or [text for key, text in every.items() if wanted in key]
    if not found:
        names = dict.fromkeys(".".join(key.split(".")[:end]) for key in every for end in range(1, key.count(".") + 2))
        close = ", ".join(difflib.get_close_matches(wanted, names, n=3))
        raise StageError(f"no parameter has {wanted!r} in its key" + (f"; did you mean {close}?" if close else ""))
    return found


def lines() -> Iterator[tuple[str, str]]:
    """(key, text) of every documented parameter, each once."""
    own = f"ablations/{Parameters(ROOT).scale}.yaml"
    ablations = (ROOT / own).exists()
    parameters = Parameters(ROOT, extra_files=[own] if ablations else [])
    modules = stage_modules(ROOT) + (stage_modules(ROOT, "ablations/dvc.yaml") if ablations else [])
    yield from fields("cluster", Cluster, parameters.resolved.get("cluster"))
    seen: set[str] = set()
    for module in modules:
        for _, key, kind in config_sections(importlib.import_module(module).Config):
            value = next(iter(parameters.select([key]).values()))
            for name, text in fields(key, kind, value):
                if name not in seen:
                    seen.add(name)
                    yield name, text


def fields(key: str, kind: Any, value: Any) -> Iterator[tuple[str, str]]:
    """The documented fields of a section and of the sections in it."""
    section = kind if isinstance(kind, type) else next((a for a in get_args(kind) if isinstance(a, type)), None)
    if not (section and issubclass(section, BaseModel)):
        yield key, f"{key} = {value}"
        return
    for name, field in section.model_fields.items():
        stated = isinstance(value, dict) and name in value
        inner = value[name] if stated else field.get_default(call_default_factory=True)
        path = f"{key}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(path, field.annotation, inner)
        else:
            limits = ", ".join(WORDS.get(type(each), "{0}").format(each) for each in field.metadata)
            about = " ".join((field.description or "").split())
            where = "" if stated else " (default)"
            yield path, f"{path} = {inner}{where}{f'  [{limits}]' if limits else ''}\n    {about}"


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
