"""README.md, CONTRIBUTING.md and docs/: commands, links and file names are right. documentation.py has the commands."""

import re
from pathlib import Path

import pytest

from tests.flows import documentation
from tests.flows.documentation import CHECKS, PAGES, ROOT
from tests.flows.project import Project


def test_every_documented_command_is_run_and_no_check_is_left_over() -> None:
    documented = documentation.documented_commands()
    assert documented - CHECKS.keys() == set(), "add a check of these commands to tests/flows/documentation.py"
    assert CHECKS.keys() - documented == set(), "no page has these commands"


@pytest.mark.parametrize("command", documentation.checks("checkout"))
def test_a_command_prints_what_its_check_says(command: str) -> None:
    documentation.run(command, ROOT)


@pytest.mark.parametrize("command", documentation.checks("miniature"))
def test_a_command_does_so_in_the_miniature_project(command: str, project: Project) -> None:
    documentation.run(command, project.root, project.environment(HERD_TRACKING="off"))


@pytest.mark.parametrize("command", documentation.checks("tests"))
def test_another_test_runs_the_command(command: str) -> None:
    file, _, text = CHECKS[command].prints.partition(":")
    assert text in (ROOT / file).read_text()


def test_the_readme_is_short_and_opens_with_picture_and_commands() -> None:
    text = PAGES["README.md"].read_text()
    assert len(text.splitlines()) <= 120
    assert text.index("docs/report.png") < text.index("make repro") < text.index("make test") < 2500


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name: str) -> None:
    page = PAGES[name]
    links = re.findall(r"\]\(([^)#:]+)\)", documentation.BLOCK.sub("", page.read_text()))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_every_file_and_folder_in_the_tree_exists() -> None:
    (tree,) = [
        text for _, text in documentation.BLOCK.findall(PAGES["docs/architecture.md"].read_text()) if "  tasks/" in text
    ]
    folder, found = Path(), []
    for indent, name in re.findall(r"^( *)(\S+)  ", tree, flags=re.M):
        folder = folder if indent else Path(name)
        found.append(folder / name if indent else Path(name))
    assert len(found) > 25
    assert [str(path) for path in found if not (ROOT / path).exists()] == []
    listed = {str(path) for path in found}
    packages = {f"{path.parent.relative_to(ROOT)}" for path in ROOT.glob("stages/*/__init__.py")}
    assert packages <= listed, "docs/architecture.md does not list these folders"
