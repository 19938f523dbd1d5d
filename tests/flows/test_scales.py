"""The scales that are shipped: every one is valid, and has the keys of every other."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows import scale
from flows.parameters import check

ROOT = Path(__file__).resolve().parents[2]
SCALES = sorted(path.stem for path in (ROOT / "scales").glob("*.yaml"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scales", tmp_path / "scales")
    return tmp_path


@pytest.mark.parametrize("name", SCALES)
def test_every_shipped_scale_is_valid(name: str, project: Path) -> None:
    scale.choose(project, name)
    scale.check(check(project))


def sections(name: str) -> set[str]:
    tree = yaml.safe_load((ROOT / "scales" / f"{name}.yaml").read_text())
    return {f"{key}.{inner}" for key, value in tree.items() if isinstance(value, dict) for inner in value}


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_has_the_same_sections(name: str) -> None:
    assert sections(name) == sections("toy")
