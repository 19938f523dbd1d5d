"""A data set of one's own is valued from the command line."""

import json
import re
import shutil
from pathlib import Path

import pytest

from flows import project, value_data
from stages.interface import StageError
from stages.pretraining import data_value as value
from tests.fixtures import corpus, make_world, shape

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project at the smoke scale, as far as the stage fit."""
    place = tmp_path_factory.mktemp("project")
    world = make_world(tmp_path_factory.mktemp("world"))
    for made, name in ((world.tokens, "data/tokens"), (world.tokenizer, "models/tokenizer")):
        shutil.copytree(made, place / name)
    plan = {"members": {"small": {"config": shape().to_json(), "tokens": 30_000}}}
    (place / "data" / "herd.json").write_text(json.dumps(plan))
    shutil.copytree(ROOT / "scales", place / "scales")
    text = (ROOT / "params.yaml").read_text()
    (place / "params.yaml").write_text(re.sub(r"^scale: \w+", "scale: smoke", text, flags=re.M))
    return place


def written(path: Path, bucket: str, seed: int, count: int = 60) -> Path:
    rows = [row for row in corpus(count, seed) if row["bucket"] == bucket]
    path.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    return path


def test_what_a_data_set_is_worth_is_printed_and_the_half_trained_model_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "STATE", tmp_path / "state")
    path = written(tmp_path / "new.jsonl", "code", seed=9)
    metrics = value_data.value_documents(root, path, "small", "text", 0.3)
    lines = list(value_data.format_metrics(metrics))
    assert lines[0].startswith("60 documents, ") and "(0 held-out documents skipped)" in lines[0]
    assert "half-trained small annealed on 4,096 tokens, 30% of them new" in lines[1]
    for line, name in zip(lines[4:], ("default mix", "general", "math", "code", "multilingual"), strict=True):
        assert re.fullmatch(rf" +{name} +\d\.\d+ +\d\.\d+ +[+-]\d\.\d+ \([+-][\d.]+ to [+-][\d.]+\) [a-z ]+", line)

    def never(*_: object) -> None:
        raise AssertionError("the half-trained model is trained once")

    monkeypatch.setattr(value, "train_half", never)
    again = value_data.value_documents(root, path, "small", "text", 0.3)
    assert again == metrics
    (kept,) = (tmp_path / "state" / "value").iterdir()
    assert sorted(file.name for file in kept.iterdir()) == ["model", "rate.json"]


def test_held_out_documents_are_left_out(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus valued on its own held-out documents would be worth too much."""
    rows = [row for row in corpus(90, seed=1) if int(row["id"][:8], 16) % 1000 < 200]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    with pytest.raises(StageError, match=rf"no document is left to value \({len(rows)} are held out\)"):
        value_data.value_documents(root, tmp_path / "held.jsonl", "small", "text", 0.3)


def test_what_is_missing_is_said(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "new.jsonl", "code", seed=9, count=3)
    with pytest.raises(StageError, match=r"huge: data/herd\.json has no such member"):
        value_data.value_documents(root, path, "huge", "text", 0.3)
    with pytest.raises(StageError, match=r"data/tokens does not exist; run `dvc repro fit`"):
        value_data.value_documents(tmp_path, path, "small", "text", 0.3)


def test_what_is_too_little_is_said_before_anything_is_trained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value, "train_half", lambda *_: pytest.fail("nothing is to be trained"))
    (tmp_path / "few.jsonl").write_text('{"text": "a cat"}\n')
    with pytest.raises(StageError, match=r"the new data have \d+ tokens; one window takes"):
        value_data.value_documents(root, tmp_path / "few.jsonl", "small", "text", 0.3)
    path = written(tmp_path / "new.jsonl", "code", seed=9)
    with pytest.raises(StageError, match=r"a share of 0\.001 of 32 sequences is none; give 0\.03 or more"):
        value_data.value_documents(root, path, "small", "text", 0.001)


def test_a_verdict_is_only_given_where_the_interval_allows_it() -> None:
    loss = {"value": 3.0}
    for low, high, verdict in ((0.1, 0.3, "helps"), (-0.3, -0.1, "harms"), (-0.1, 0.3, "inconclusive")):
        gain = {"value": (low + high) / 2, "low": low, "high": high}
        assert value_data._format_gain("code", loss, loss, gain).endswith(verdict)
