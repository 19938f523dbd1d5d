"""Check params.yaml and the scale's file against what the stages declare; the first stage of the DAG.

Examples:
    herd check
"""

import argparse
import sys

from flows import command, scale
from flows.parameters import validate
from flows.project import ROOT

VALID = ROOT / "data" / "parameters.ok"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def main(options: argparse.Namespace) -> None:
    scale.check(validate(ROOT))
    VALID.parent.mkdir(exist_ok=True)
    # Always the same bytes: what depends on it waits for the check but does not become stale by it.
    VALID.write_text("parameters are valid\n")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
