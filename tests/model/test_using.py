"""docs/using-a-model.md does what it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from stages.model.files import load_model, save_model
from stages.model.llama import Llama
from tests.fixtures import World, shape, sharp

PAGE = (Path(__file__).resolve().parents[2] / "docs/using-a-model.md").read_text()


def block(kind: str, containing: str) -> str:
    """The page's code block of a kind that contains a text."""
    found = [text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.S) if containing in text]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def home(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models where the page expects them."""
    flagship = sharp(Llama(shape()).init_weights(6), scale=4.0)
    save_model(flagship, tmp_path / "models/flagship/base", world.tokenizer, 128)
    save_model(flagship, tmp_path / "models/flagship/chat", world.tokenizer, 128, chat=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_generation_examples_of_the_docs_run(home: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("python", "AutoModelForCausalLM"), {})
    theirs = capsys.readouterr().out
    assert theirs.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n What is 3 + 4?<|eot_id|>")
    tokenizer = transformers.AutoTokenizer.from_pretrained("models/flagship/base")
    assert tokenizer("the cat")["input_ids"] == [world.chat.begin_of_text, *world.chat.encode_text("the cat")]
    exec(block("python", "generate(model"), {})
    lines = capsys.readouterr().out.splitlines()
    assert {"0", "1"} == {line.split()[0] for line in lines if re.fullmatch(r"[01] \d+", line)}


def test_lm_eval_runs_offline_and_finds_our_likelihoods(home: Path, world: World) -> None:
    (home / "sums.yaml").write_text(block("yaml", "task: sums"))
    (home / "sums.jsonl").write_text(block("json", "question"))
    *settings, _, _ = command = shlex.split(block("sh", "lm-eval").replace("lm-eval", f"{sys.executable} -m lm_eval"))
    count = next(number for number, word in enumerate(settings) if "=" not in word)
    environment = dict(os.environ) | dict(word.split("=", 1) for word in command[:count])
    subprocess.run(
        [*command[count:], "--output_path", "out", "--log_samples"],
        check=True,
        capture_output=True,
        env=environment | {"HF_HOME": str(home)},
    )
    (samples,) = home.glob("out/**/samples_sums_*.jsonl")
    model = load_model(home / "models/flagship/base").eval()
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(rows) == 3
    for row in rows:
        found = [float(response[0]) for (response,) in row["resps"]]
        question, choices = row["doc"]["question"], row["doc"]["choices"]
        expected = [likelihood(model, world, question, f" {choice}") for choice in choices]
        assert found == pytest.approx(expected, abs=1e-4) and len(set(found)) == 3
        assert row["acc"] == (max(range(3), key=expected.__getitem__) == row["doc"]["answer"])


@torch.no_grad()
def likelihood(model: Llama, world: World, question: str, choice: str) -> float:
    """Log-likelihood of `choice` after `question`, in nats."""
    whole = [world.chat.begin_of_text, *world.chat.encode_text(question + choice)]
    count = len(whole) - 1 - len(world.chat.encode_text(question))
    scores = model(torch.tensor([whole]))[0].log_softmax(-1)
    return sum(float(scores[place - 1, whole[place]]) for place in range(len(whole) - count, len(whole)))
