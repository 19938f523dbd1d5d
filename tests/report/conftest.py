"""A report of the example run."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.report import page
from stages.tokenizer.corpus import Mix
from tests.recorder import Recorder
from tests.report import example

CONFIG = page.Config(scale="toy", last_round=2, mix=Mix(general=0.5, math=0.25, code=0.17, multilingual=0.08))


def make_report(inputs: dict[str, Path], directory: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    directory.mkdir()
    outputs = {"page": directory / "index.html", "claims": directory / "claims.json"}
    metrics = page.run(CONFIG, inputs, outputs, Recorder(directory))
    return outputs["page"].read_text(), json.loads(outputs["claims"].read_text()), metrics


@pytest.fixture(scope="session")
def full_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, Path]]:
    root = tmp_path_factory.mktemp("run")
    inputs = example.write_run(root)
    return *make_report(inputs, root / "out"), inputs
