"""The commands that README.md, CONTRIBUTING.md and docs/ show, and how a test runs each of them.

A command is a line of an `sh` block, a line after `$ ` in any other block, or inline code that begins with one of
`PROGRAMS`. Every command needs a `Check`: where it runs and what it prints. A command that is too slow or that needs
the network runs as a cheap equivalent, with the reason. Inline code that is the beginning of a shown command is a
mention of that command and needs none.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")))}
PROGRAMS = ("herd", "dvc", "make", "python", "git", "pip", "lm-eval")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", flags=re.M | re.S)


@dataclass(frozen=True)
class Check:
    """How a command is run, and what it must print (a regular expression)."""

    where: Literal["checkout", "miniature", "smoke", "pages", "tests"]
    """This checkout; the miniature project of project.py; the finished smoke run of test_smoke.py, in the order of the
    page; the project of test_ui.py whose servers run; or a test file, which `prints` then names."""
    prints: str
    instead: str = ""
    because: str = ""
    code: int = 0

    def __post_init__(self) -> None:
        assert bool(self.instead) == bool(self.because)


SLOW = "it takes minutes to hours; the code that it calls has tests of its own"
WHOLE = "test_smoke.py runs the whole DAG"

CHECKS = {
    # README.md
    "make repro": Check("checkout", r"herd repro\b", "make --dry-run repro", WHOLE),
    "make test": Check("checkout", "python -m pytest", "make --dry-run test", "a test would run itself"),
    "herd --help": Check("checkout", r"(?s)repro .*status .*chat "),
    "herd status": Check("smoke", r"55 stages, none to run"),
    "herd repro": Check("miniature", r"\[5/5\] report: "),
    "dvc repro": Check("miniature", "Running stage 'report'"),
    "herd repro --scale smoke": Check("miniature", r"\[5/5\] report: "),
    "herd explain pretraining.annealing": Check("checkout", r"annealing\.checkpoints = 8 +\[at least 1\]"),
    "dvc exp show": Check(
        "smoke", "workspace,baseline", "dvc exp show --csv", "the table depends on the terminal's width"
    ),
    "herd ui start": Check("pages", r"(?s)http://127\.0\.0\.1:\d+.*http://127\.0\.0\.1:\d+"),
    "herd ui stop": Check("miniature", "no server was running"),
    "herd chat models/flagship/chat": Check(
        "smoke", r"\S", "herd chat models/flagship/chat --ask 'What is 3 + 4?'", "a test has no terminal"
    ),
    "herd inspect pretrain@flagship --step 100": Check(
        "smoke", r"step 6\b", "herd inspect pretrain@flagship --step 6", "smoke trains fewer than 100 steps"
    ),
    "herd value-data documents.jsonl": Check("smoke", r"(?s)60 documents.*default mix +\d.*code +\d"),
    "herd plan --scale 405b": Check("checkout", r"405,845,000,192"),
    "dvc repro ablations/dvc.yaml:data-04": Check(
        "smoke", "Running stage 'ablations/dvc.yaml:data-04'", "dvc repro --dry ablations/dvc.yaml:data-04", SLOW
    ),
    "herd launch --dry": Check(
        "checkout",
        r"flows\.stage pretraining\.initial",
        "herd launch --dry pretraining.initial",
        "the text leaves out the stage",
    ),
    "make ablations": Check("checkout", r"dvc repro ablations/dvc\.yaml", "make --dry-run ablations", SLOW),
    "make peers": Check("checkout", r"bench/peers\.txt", "make --dry-run peers", "it needs the network"),
    "make bench": Check("checkout", "python -m bench.training", "make --dry-run bench", SLOW),
    # CONTRIBUTING.md
    "make lint": Check("checkout", r"(?s)ruff check .*mypy.*lint-imports", "make --dry-run lint", "make test runs it"),
    "herd deps": Check("checkout", "deps: up to date", "herd deps --check", "it would write into the checkout"),
    "python -m pytest tests/posttraining": Check(
        "checkout",
        "tests/posttraining/test_",
        "python -m pytest --collect-only -p no:cacheprovider tests/posttraining",
        "make test runs these tests",
    ),
    # docs/tutorial.md
    "make repro SCALE=smoke": Check("checkout", "herd repro --scale smoke", "make --dry-run repro SCALE=smoke", WHOLE),
    ". .venv/bin/activate": Check(
        "checkout", "Python 3", "python --version", "the tests run in the environment that make creates"
    ),
    "git add --all": Check("smoke", "^$"),
    'git commit --quiet --message "Run the DAG at the smoke scale"': Check("smoke", "^$"),
    "herd explain curation.dedup.lines.most": Check("checkout", r"lines\.most = 6 +\[at least 1\]"),
    "dvc exp run -n two-lines -S curation.dedup.lines.most=2 dedup": Check(
        "smoke",
        r"(?s)Running stage 'check'.*'acquire' didn't change.*'extract' didn't change.*'pii' didn't change.*"
        r"Running stage 'dedup'.*Ran experiment",
    ),
    "dvc params diff": Check("smoke", r"curation\.dedup\.lines\.most +6 +2\n"),
    "dvc metrics diff": Check("smoke", r"lines\.occurrences +\d+ +\d+ +\d+"),
    "dvc exp show --only-changed --no-pager": Check("smoke", "two-lines"),
    "git checkout --quiet .": Check("smoke", "^$"),
    "dvc checkout --quiet": Check("smoke", "^$"),
    "herd repro --scale toy": Check("miniature", r"\[5/5\] report: "),
    "herd inspect dpo@1 --step 1": Check("smoke", r"step 1\b"),
    # the other pages
    "python -m flows.stage MODULE --in NAME=PATH --out NAME=PATH --metrics PATH": Check(
        "miniature",
        "forty documents",
        "python -m flows.stage mini.source --out documents=data/source --metrics metrics/source.json",
        "the names are placeholders",
    ),
    "herd explain plan": Check("checkout", r"plan\.\w+"),
    "python -m bench.precision --plot docs/precision.png": Check(
        "smoke",
        "bfloat16",
        "python -m bench.precision --project . --seeds 2 --rung 0 --tokens 4000 --plot precision.png",
        SLOW,
    ),
    "HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 lm-eval run --model hf --model_args pretrained=models/flagship/base,"
    "dtype=float32 --tasks sums --include_path . --device cpu --batch_size 8": Check(
        "tests", 'tests/model/test_using.py:block("sh", "lm-eval")'
    ),
}


def shown_commands(page: Path) -> list[str]:
    """The commands of the blocks of a page, in order, without comments."""
    found = []
    for kind, text in BLOCK.findall(page.read_text()):
        lines = text.splitlines()
        if kind != "sh":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += [line.partition("  #")[0].strip() for line in lines]
    return [line for line in found if line]


def mentioned_commands(page: Path) -> list[str]:
    """The inline code of a page that begins with a program."""
    inline = re.findall(r"`([^`]+)`", BLOCK.sub("", page.read_text()))
    words = [" ".join(text.split()) for text in inline]
    return [text for text in words if text.split()[0] in PROGRAMS and " " in text]


def documented_commands() -> set[str]:
    """All commands that need a check."""
    shown = {command for page in PAGES.values() for command in shown_commands(page)}
    mentioned = {command for page in PAGES.values() for command in mentioned_commands(page)}
    return shown | {text for text in mentioned if not any(f"{line} ".startswith(f"{text} ") for line in shown)}


def checks(where: str) -> list[str]:
    """The commands that are checked there."""
    return [command for command, check in CHECKS.items() if check.where == where]


def arguments(command: str) -> list[str]:
    """What to run for a command. `herd` runs as the module, so that the code of the working directory is tested."""
    words = shlex.split(CHECKS[command].instead or command)
    if words[0] == "herd":
        words[:1] = [sys.executable, "-m", "flows.herd"]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def run(command: str, directory: Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it prints; fails if the exit code or the output is not that of the check."""
    process = subprocess.run(
        arguments(command), cwd=directory, env=environment or dict(os.environ), capture_output=True, text=True
    )
    output = process.stdout + process.stderr
    assert process.returncode == CHECKS[command].code, f"{command} ended with {process.returncode}:\n{output}"
    assert re.search(CHECKS[command].prints, output), f"{command} printed:\n{output}"
    return output
