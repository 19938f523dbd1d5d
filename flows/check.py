"""Check the parameters against what the stages declare, and write them resolved; the first stage of the DAG.

Examples:
    herd check
    herd check --scale 405b    # checks and resolves 405b too
"""

import argparse
import sys

import yaml

from flows import command
from flows.parameters import validate
from flows.parameters.resolve import resolved_file
from flows.project import ROOT
from flows.scale import check_rounds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", action="append", default=[], help="another scale to check and to resolve")


def main(options: argparse.Namespace) -> None:
    resolved = {resolved_file(scale): validate(ROOT, scale) for scale in (None, *options.scale)}
    check_rounds(resolved[resolved_file()])
    for name, parameters in resolved.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        tracked = parameters.tracked(parameters.resolved)
        (ROOT / name).write_text(yaml.safe_dump(tracked, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
