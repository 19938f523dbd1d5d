"""What the README tells people to type exists and works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", README) + re.findall(r"```sh\n(.*?)```", README, flags=re.S)
COMMANDS = [line.split("#")[0].strip() for block in CODE for line in block.splitlines()]
MODULES = sorted({match for line in COMMANDS for match in re.findall(r"python -m (flows\.\w+)", line)})
TARGETS = sorted({match for line in COMMANDS for match in re.findall(r"^make ([a-z-]+)", line)})


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_is_in_the_makefile(target: str) -> None:
    run = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_how_it_is_used(module: str) -> None:
    run = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and "usage" in run.stdout, run.stdout + run.stderr


def test_every_file_and_folder_in_the_tree_exists() -> None:
    tree = README.split("## What lies where")[1].split("```")[1]
    names = re.findall(r"^( *)(\S+)", tree, flags=re.M)
    for indent, name in names:
        assert (ROOT / ("stages" if indent else "") / name).exists(), name
