"""`herd`: one parser for all commands, which loads nothing heavy."""

import subprocess
import sys

import pytest

from flows.command import COMMANDS
from flows.project import ROOT


def herd(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.herd", *words], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_command() -> None:
    help = herd("--help")
    assert help.returncode == 0 and all(f"\n    {name}" in help.stdout for name in COMMANDS)
    assert herd().stdout == help.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_the_same_as_its_module(name: str) -> None:
    help, module = herd(name, "--help"), [sys.executable, "-m", COMMANDS[name], "--help"]
    assert help.stdout.startswith(f"usage: herd {name} ") and "Examples:" in help.stdout
    assert subprocess.run(module, cwd=ROOT, capture_output=True, text=True).stdout == help.stdout


def test_a_misspelt_command_gets_a_suggestion() -> None:
    wrong = herd("chta", "models/flagship/chat")
    assert wrong.returncode == 2 and wrong.stderr == "herd: there is no command 'chta'; did you mean chat?\n"
    assert "the commands are repro, " in herd("qqq").stderr


def test_an_error_of_a_command_is_one_line() -> None:
    wrong = herd("plan", "--scale", "tiny")
    assert wrong.returncode == 1 and wrong.stderr.startswith("herd plan: scale: 'tiny' is not one of 405b")
    assert wrong.stderr.count("\n") == 1


def test_help_and_completion_import_nothing_heavy() -> None:
    code = "import sys, flows.herd as herd; herd.build_parser(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "dvc", "prefect", "mlflow", "numpy", "rich"} & {*run.stdout.split()}
    script = herd("completion", "bash").stdout
    assert "value-data" in script and "--max-new-tokens" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
