"""The whole herd at the smoke scale, as a user runs it: a clone of its own, `dvc repro`, the report."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.parameters import Parameters
from flows.scale import set_scale
from stages.pretraining import initial
from stages.pretraining.phase import load_member
from stages.tokenizer import bpe
from stages.training.loader import TokenShards
from tests.flows import documentation
from tests.report.example import NOT_RUN, VERDICTS
from tests.report.example.ablations import ABLATIONS

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ESTIMATED = {"shown", "shown in this run", "not shown at this scale", "contradicted", "cannot be measured here"}
"""Verdicts of a claim with an interval."""
TUTORIAL_PAGE = documentation.PAGES["docs/tutorial.md"]


def command(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in the clone."""
    return subprocess.run(words, cwd=clone, env=environment(), capture_output=True, text=True)


def environment() -> dict[str, str]:
    """With the downloads of this checkout, so that no network is needed."""
    values = (
        os.environ
        | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HERD_DOWNLOADS": str(ROOT / ".herd" / "downloads"),
            "DVC_NO_ANALYTICS": "1",
            "PREFECT_API_URL": "",
        }
        | dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "test")
    )
    values.pop("HERD_ROOT", None)
    return values


def copied(directory: Path) -> Path:
    """This checkout's files, as they are, in a repository of their own."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name.startswith(("metrics/", "reports/")) or name == "dvc.lock" or not (ROOT / name).exists():
            continue
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    set_scale(directory, "smoke")
    command(directory, "git", "init", "-q")
    return directory


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A second clone, in which the other driver works while the first one does: neither keeps two cores busy."""
    directory = copied(tmp_path_factory.mktemp("other"))
    with (directory.parent / "other.log").open("wb") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "flows.reproduce", "pretrain@small"],
            cwd=directory,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        yield directory, driver
        driver.terminate()
        driver.wait()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, other: tuple[Path, subprocess.Popen[bytes]]) -> Path:
    """A clone after one `dvc repro`."""
    directory = copied(tmp_path_factory.mktemp("herd"))
    run = command(directory, "dvc", "repro")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return directory


@pytest.mark.timeout(900)
def test_the_report_holds_every_claim_with_what_this_run_measured(clone: Path) -> None:
    """The run or a committed ablation measures every claim except those that no stage measures yet."""
    page = (clone / "reports" / "index.html").read_text()
    claims = {claim["id"]: claim for claim in json.loads((clone / "reports" / "claims.json").read_text())}
    assert sorted(claims) == sorted(VERDICTS)
    assert {path.stem for path in (clone / "ablations" / "results").glob("*.json")} == set(ABLATIONS)
    for name, claim in claims.items():
        assert {"section", "statement", "paper", "quantity", "unit", "detail"} <= claim.keys() and name in page
        if name in NOT_RUN:
            assert claim["verdict"] == "not run" and claim["detail"].startswith("Not measured: "), name
            continue
        assert claim["low"] <= claim["value"] <= claim["high"] and claim["n"] >= 0, name
        assert claim["verdict"] in ({"exact"} if VERDICTS[name] == "exact" else ESTIMATED), name
        assert claim["adjusted_verdict"] in {claim["verdict"], "not shown at this scale"}, name
    assert all(claims[name]["control"] for name in ("post-01", "safe-04", "safe-05", "safe-06", "safe-07", "safe-08"))


def test_a_second_run_has_nothing_to_do(clone: Path) -> None:
    before = (clone / "dvc.lock").read_bytes()
    run = command(clone, "dvc", "repro")
    assert run.returncode == 0 and "Running stage" not in run.stdout
    assert (clone / "dvc.lock").read_bytes() == before


def test_touching_the_report_makes_only_the_report_stale(clone: Path) -> None:
    template = clone / "stages" / "report" / "page.html.j2"
    text = template.read_text()
    template.write_text(text + "\n")
    stale = json.loads(command(clone, "dvc", "status", "--json").stdout)
    template.write_text(text)
    assert [name for name in stale if not name.startswith("ablations/")] == ["report"]


def test_a_misspelt_parameter_stops_the_run_with_its_name_and_file(clone: Path) -> None:
    path = clone / "scales" / "smoke.yaml"
    text = path.read_text()
    path.write_text(text.replace("flagship_flops:", "flagship_flop:"))
    run = command(clone, "dvc", "repro")
    path.write_text(text)
    assert run.returncode != 0
    assert "scales/smoke.yaml" in run.stderr and "herd.flagship_flop" in run.stderr


def test_a_model_answers_in_the_terminal(clone: Path) -> None:
    run = command(clone, sys.executable, "-m", "flows.chat", "models/small/chat", "--ask", "What is 3 + 4?")
    assert run.returncode == 0 and run.stdout.strip()


@pytest.mark.timeout(600)
def test_from_nothing_under_the_other_driver_the_same_bytes_come_out(
    clone: Path, other: tuple[Path, subprocess.Popen[bytes]]
) -> None:
    directory, driver = other
    assert driver.wait() == 0, (directory.parent / "other.log").read_text()[-4000:]
    first, again = (yaml.safe_load((path / "dvc.lock").read_text())["stages"] for path in (clone, directory))
    assert "isoflops" in again
    assert again == {name: first[name] for name in again}


def test_what_a_model_saw_at_a_step_is_printed(clone: Path) -> None:
    run = command(clone, sys.executable, "-m", "flows.inspect", "pretrain@small", "--step", "6", "--samples", "2")
    assert run.returncode == 0, run.stderr
    config = Parameters(clone).load_config(initial.Config)
    tokens = load_member(clone / "data" / "herd.json", "small")["tokens"] * config.pretraining.initial
    (batch, *_) = initial.make_ramp_batches(config, TokenShards(clone / "data" / "tokens"), tokens)(5)
    tokenizer = bpe.load(clone / "models" / "tokenizer")
    for row in batch.tokens[:2].tolist():
        assert tokenizer.decode(row, skip_special_tokens=False) in run.stdout
    beyond = command(clone, sys.executable, "-m", "flows.inspect", "pretrain@small", "--step", "1000000")
    assert beyond.returncode == 1 and "the steps are 1 to" in beyond.stderr


TUTORIAL = [
    command for command in documentation.shown_commands(TUTORIAL_PAGE) if command in documentation.checks("smoke")
]


def test_the_tutorial_prints_the_numbers_that_it_shows(clone: Path) -> None:
    """The commands in order; the clone is as before in the end, and has a commit."""
    printed = {line: documentation.run(line, clone, environment()) for line in TUTORIAL}
    shown = [text for kind, text in documentation.BLOCK.findall(TUTORIAL_PAGE.read_text()) if kind == "text"]
    assert len(shown) == 2
    output = "".join(printed.values())
    assert [line for text in shown for line in text.splitlines() if line not in output] == []


@pytest.mark.parametrize("command", [line for line in documentation.checks("smoke") if line not in TUTORIAL])
def test_a_documented_command_prints_what_its_check_says(clone: Path, command: str) -> None:
    texts = [json.dumps({"text": f"{n} apples and {n} pears are {2 * n} pieces of fruit. " * 20}) for n in range(60)]
    (clone / "documents.jsonl").write_text("\n".join(texts))
    documentation.run(command, clone, environment())
