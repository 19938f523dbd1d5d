"""Run one stage; every stage of dvc.yaml calls this.

Reads the parameters that the stage declares, runs it, and publishes its outputs when they are complete. The stage runs
as a Prefect flow if a server answers.

Examples:
    python -m flows.stage curation.dedup --in documents=data/masked --out documents=data/deduplicated \\
        --metrics metrics/dedup.json
"""

from flows import project

if __name__ == "__main__":
    project.restart_with_environment()  # before the other imports, which would run twice

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows import command
from flows.arguments import name_value
from flows.execution import launcher
from flows.parameters import Parameters
from stages.interface import StageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="module under stages/, for example curation.dedup")
    for option, field, metavar, text in (
        ("--item", "item", "NAME=VALUE", "the item of a matrix of stages"),
        ("--in", "inputs", "NAME=PATH", "an input"),
        ("--out", "outputs", "NAME=PATH", "an output"),
    ):
        values = NamedValues(option)
        parser.add_argument(
            option, dest=field, type=name_value, action=AddNamedValue, default=values, metavar=metavar, help=text
        )
    parser.add_argument("--metrics", type=Path, metavar="PATH", help="JSON file for the stage's metrics")


def main(options: argparse.Namespace) -> int:
    from flows.execution.stage_run import StageRun

    try:
        cluster = Parameters(project.ROOT).cluster
        if launcher.needs_launch(cluster, options.stage):
            launcher.launch(cluster, sys.argv[1:])
        else:
            StageRun(options).run()
    except StageError as error:
        print(f"{options.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options in the arguments of flows.stage."""
    return command.make_parser(sys.modules[__name__]).parse_args(words)


class NamedValues(dict[str, str]):
    """The values of an option by name; raises StageError for a name that is missing."""

    def __init__(self, option: str) -> None:
        self.option = option

    def __missing__(self, name: str) -> str:
        raise StageError(f"{self.option} {name}=... is missing")


class AddNamedValue(argparse.Action):
    """Adds a NAME=VALUE to the option's values."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        name, value = values
        getattr(namespace, self.dest)[name] = value


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
