"""Print a shell's completion script for herd.

Examples:
    source <(herd completion bash)
    herd completion zsh > ~/.zfunc/_herd
"""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def main(options: argparse.Namespace) -> None:
    import shtab

    from flows.herd import build_parser

    print(shtab.complete(build_parser(), options.shell))


if __name__ == "__main__":
    from flows import command

    command.execute(sys.modules[__name__])
