"""The commands of this project.

Examples:
    herd repro --scale smoke          # run what is out of date
    herd chat models/flagship/chat    # talk to a model
    herd COMMAND --help               # what a command does
"""

import argparse
import difflib
import importlib
import sys
from argparse import RawDescriptionHelpFormatter

from flows import command
from flows.command import COMMANDS


def build_parser() -> argparse.ArgumentParser:
    """The parser of `herd` with the parsers of all commands."""
    parser = argparse.ArgumentParser(prog="herd", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        text = str(module.__doc__)
        subparser = subparsers.add_parser(
            name,
            help=text.split("\n")[0].replace("%", "%%"),
            description=text,
            formatter_class=RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
    return parser


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        del sys.argv[1]
        command.execute(importlib.import_module(COMMANDS[name]))
    if name.startswith("-"):
        build_parser().parse_args([name])
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
    print(f"herd: there is no command {name!r}; {hint}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
