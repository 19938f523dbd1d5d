"""What a parameter means: its value at the present scale, its limits, its unit and its source.

python -m flows.explain                          # all of them
python -m flows.explain pretraining.annealing    # those whose key begins like this
"""

import importlib
import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from flows.crew import Cluster
from flows.parameters import Parameters, declared, stage_modules
from flows.project import ROOT
from stages.interface import StageError


def main() -> None:
    prefix = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        found = [line for key, line in lines() if key.startswith(prefix)]
    except StageError as error:
        sys.exit(f"explain: {error}")
    print("\n".join(found) or f"explain: no parameter begins with {prefix!r}")


def lines() -> Iterator[tuple[str, str]]:
    """(key, text) of every documented parameter, each once."""
    own = f"ablations/{Parameters(ROOT).scale}.yaml"
    ablations = (ROOT / own).exists()
    parameters = Parameters(ROOT, more=[own] if ablations else [])
    modules = stage_modules(ROOT) + (stage_modules(ROOT, "ablations/dvc.yaml") if ablations else [])
    yield from fields("cluster", Cluster, parameters.merged.get("cluster"))
    seen: set[str] = set()
    for module in modules:
        for _, key, kind in declared(importlib.import_module(module).Config):
            value = next(iter(parameters.values([key]).values()))
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
            limits = ", ".join(str(limit) for limit in field.metadata)
            about = " ".join((field.description or "").split())
            where = "" if stated else " (default)"
            yield path, f"{path} = {inner}{where}{f'  [{limits}]' if limits else ''}\n    {about}"


if __name__ == "__main__":
    main()
