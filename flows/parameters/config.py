"""The sections of the parameters that a stage declares in its `Config` (see `stages.interface`)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import TypeAdapter

from flows.parameters.files import Tree, read_yaml


def config_sections(config_class: type) -> Iterator[tuple[str, str, Any]]:
    """(field, parameter key, type) of each section of a stage's Config."""
    for field, hint in get_type_hints(config_class, include_extras=True).items():
        *constraints, key = hint.__metadata__
        yield field, key, Annotated[hint.__origin__, *constraints] if constraints else hint.__origin__


def config_keys(config_class: type) -> list[str]:
    """The parameter keys of a stage's Config."""
    return [key for _, key, _ in config_sections(config_class)]


def build_config(config_class: type, values: Mapping[str, Any]) -> Any:
    """A stage's Config from raw values by key, as manifests have them; ValueError if one is missing or wrong."""
    try:
        return config_class(
            **{
                field: TypeAdapter(kind).validate_python(values[key])
                for field, key, kind in config_sections(config_class)
            }
        )
    except KeyError as error:
        raise ValueError(f"no {error}") from None


def result_parameters(config_class: type, values: Mapping[str, Any]) -> Tree:
    """The values of a stage's sections without the fields that change no result (`Section.result_neutral`)."""
    neutral = {
        f"{key}.{field}"
        for _, key, kind in config_sections(config_class)
        for field in getattr(kind, "result_neutral", ())
    }

    def strip(key: str, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        return {name: value for name, value in section.items() if f"{key}.{name}" not in neutral}

    return {key: strip(key, section) for key, section in values.items()}


def stage_modules(root: Path, pipeline: str = "dvc.yaml") -> list[str]:
    """The stage modules named by the commands of a dvc.yaml, each once, in its order."""
    modules: dict[str, None] = {}
    for stage in read_yaml(root, pipeline)["stages"].values():
        words = str(stage.get("do", stage)["cmd"]).split()
        if words[1:3] == ["-m", "flows.stage"]:
            modules[f"stages.{words[3]}"] = None
    return list(modules)
