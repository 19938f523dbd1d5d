"""Runs a command: every command has the same parser layout, error messages and exit codes.

A command is a module with two functions and a docstring. `--help` prints the docstring, `herd --help` its first line::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def main(options: argparse.Namespace) -> int | None: ...  # the exit code; None means 0

It imports torch, prefect, dvc and mlflow inside functions only, so that `--help` and shell completion stay fast.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from flows.tracking import prefect_client
from stages.interface import StageError

COMMANDS = {
    "repro": "flows.reproduce",
    "status": "flows.status",
    "scale": "flows.scale",
    "explain": "flows.explain",
    "check": "flows.check",
    "deps": "flows.deps",
    "plan": "flows.plan",
    "inspect": "flows.inspect",
    "chat": "flows.chat",
    "evaluate": "flows.evaluate",
    "value-data": "flows.value_data",
    "ui": "flows.ui",
    "launch": "flows.launch",
    "record": "flows.record",
    "completion": "flows.completion",
}
"""Subcommand of `herd` -> its module."""


def command_line(command: ModuleType) -> str:
    """How a user calls a command, such as `herd value-data`; `python -m MODULE` if it is not a subcommand of herd."""
    module = command.__spec__.name if command.__spec__ else command.__name__
    names = {module: name for name, module in COMMANDS.items()}
    return f"herd {names[module]}" if module in names else f"python -m {module}"


def make_parser(command: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command."""
    parser = argparse.ArgumentParser(
        prog=command_line(command), description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    return parser


def run(command: ModuleType, words: Sequence[str]) -> int:
    """Runs a command with these arguments and returns its exit code; prints a StageError as one line."""
    options = make_parser(command).parse_args(words)
    try:
        return command.main(options) or 0
    except StageError as error:
        print(f"{command_line(command)}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command_line(command)}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def execute(command: ModuleType) -> NoReturn:
    """Runs a command as this process, with the arguments of the command line."""
    code = 1
    try:
        code = run(command, sys.argv[1:])
    except Exception:
        traceback.print_exc()
    prefect_client.exit_process(code)
