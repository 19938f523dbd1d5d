"""What is printed of a step is what the stage trains on at that step."""

import importlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from dvc.repo import Repo

from flows import inspect
from flows.execution.launcher import DISTRIBUTED_STAGES
from flows.parameters import Parameters, config_keys, stage_modules
from stages.interface import StageError
from stages.posttraining import dpo, reward, sft
from stages.posttraining.data import Demonstration, Preference, write_records
from stages.pretraining import annealing, initial, long_context
from stages.training import loop
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, examples, make_world, settings, tuning
from tests.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
TRAINING = settings(micro_tokens=64)
RAMP = [initial.Ramp(share=0.2, length=16, batch_tokens=64), initial.Ramp(share=0.8, length=32, batch_tokens=128)]
VARIANTS = tuning(rates=[1e-2, 5e-3], steps=3, batch=4)
CONFIGS = {
    initial: initial.Config(
        1, MIX, TRAINING, LEARNING_RATE, PRETRAINING, initial.Initial(warmup_share=0.1, floor=0.1, ramp=RAMP)
    ),
    long_context: long_context.Config(
        1,
        MIX,
        TRAINING,
        LEARNING_RATE,
        PRETRAINING,
        long_context.LongContext(
            rate=0.3, lengths=[48, 64], segments=2, loss_tolerance=0, needle_threshold=1, needles=1
        ),
    ),
    annealing: annealing.Config(
        1,
        MIX,
        TRAINING,
        LEARNING_RATE,
        PRETRAINING,
        annealing.Annealing(start=0.3, mix=MIX, checkpoints=3, control=True),
    ),
    sft: sft.Config(1, TRAINING, VARIANTS),
    dpo: dpo.Config(1, TRAINING, dpo.DPO(beta=0.1, nll=0.2, mask_formatting=True, tuning=VARIANTS)),
    reward: reward.Config(1, TRAINING, reward.Reward(start="base", tuning=VARIANTS, held_out=0.2)),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("world"))
    rows = [Preference(e, "the right " + e.answer, "the wrong cat", None, 4, 1) for e in examples()]
    write_records(
        made.documents / "demonstrations.jsonl", [Demonstration(e, e.answer, "annotator") for e in examples()]
    )
    for name in ("preferences", "all"):
        write_records(made.documents / f"{name}.jsonl", rows)
    return made


def inputs_of(world: World) -> dict[str, Path]:
    data = dict.fromkeys(("demonstrations", "preferences"), world.documents)
    return world.pretraining_inputs | data | {"policy": world.model, "base": world.model}


@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_step_shows_the_tokens_that_the_stage_trained_on(
    module: Any, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[torch.Tensor]] = []

    def watched(model: Any, micro_batches: Any, *rest: Any) -> Mapping[str, float]:
        trained.append([row for batch in micro_batches for row in batch.tokens])
        return {"loss": 1.0, "grad_norm": 1.0, "batch_tokens": 1, "accuracy": 0.0, "margin": 0.0, "chosen_change": 0.0}

    monkeypatch.setattr(loop, "step", watched)
    config, inputs, context = CONFIGS[module], inputs_of(world), Recorder(tmp_path, member="flagship")
    metrics = module.run(config, inputs, {"model": tmp_path / "model", "curve": tmp_path / "curve.csv"}, context)
    runs = module.training_runs(config, inputs, context.item, metrics)
    assert sum(run.steps for run in runs) == len(trained) > 0
    assert [step for step, _ in context.points] == list(range(1, len(trained) + 1))  # as on its curves
    shown = [list(run.batches.samples(step)) for run in runs for step in range(run.steps)]
    for rows, samples in zip(trained, shown, strict=True):
        roles = list(samples[0].sequences)
        tokens = [sample.sequences[role].tokens for sample in samples for role in roles]
        assert [row[: len(each)].tolist() for row, each in zip(rows, tokens, strict=True)] == tokens


def lines(module: Any, world: World, step: int, samples: int = 1) -> str:
    inputs, item = inputs_of(world), {"member": "flagship"}
    return "\n".join(inspect.format_samples(module, CONFIGS[module], inputs, item, None, step, samples))


def test_a_dialog_is_shown_with_what_counts(world: World) -> None:
    text = lines(sft, world, 5)
    assert text.startswith("step 5 of 6: SFT 2, its step 2 of 3; the response counts in the loss, the prompt does not")
    found = re.search(
        r"dialog (\d+) of 20\n\[dialog: not in the loss\]\n(.*)\n\[dialog: in the loss\]\n(.*)$", text, re.S
    )
    assert found is not None
    example = examples()[int(found[1])]
    assert example.prompt in found[2] and found[2].endswith("<|end_header_id|>\n\n")
    assert found[3] == f" {example.answer}<|eot_id|>"


def test_a_pair_is_shown_with_both_sides_and_dpo_masks_the_formatting(world: World) -> None:
    for role, text in (("chosen", "the right"), ("rejected", "the wrong cat")):
        assert re.search(
            rf"\[{role}: in the loss\]\n {text}[ \d]*\n\[{role}: not in the loss\]\n<\|eot_id\|>", lines(dpo, world, 1)
        )
    assert re.search(
        r"\[better: not in the loss\]\n.* the right .*\[worse: not in the loss\]\n.* the wrong cat",
        lines(reward, world, 1),
        re.S,
    )
    assert "the reward at the last token of each response counts" in lines(reward, world, 1)


def test_a_text_is_shown_with_bucket_and_window(world: World) -> None:
    found = re.search(r"sample 0: (\w+), window (\d+) of \d+\n(.*)$", lines(initial, world, 1), re.S)
    assert found is not None
    tokens = world.shards.tokens("train", found[1])[int(found[2]) * 16 : int(found[2]) * 16 + 16]
    assert found[3] == world.chat.tokenizer.decode(tokens.tolist(), skip_special_tokens=False)
    assert len(re.findall("--- sample", lines(initial, world, 7, samples=3))) == 3


def test_a_step_that_is_not_there_is_refused(world: World) -> None:
    for step in (0, 7):
        with pytest.raises(StageError, match=f"--step {step}: the steps are 1 to 6"):
            lines(sft, world, step)
    with pytest.raises(StageError, match="run the stage before you inspect it"):
        lines(long_context, world, 1)


def test_every_stage_that_trains_can_be_looked_at() -> None:
    """The sweep of the scaling laws aside: it is many trainings that no stage draws as one curve."""
    modules = [importlib.import_module(name) for name in stage_modules(ROOT)]
    functions = ("train", "train_variants", "finetune", "optimise")
    trains = {module.__name__ for module in modules if any(hasattr(module, name) for name in functions)}
    shown = {module.__name__ for module in modules if hasattr(module, "training_runs")}
    assert shown == trains - {"stages.scaling.isoflops"} != trains
    assert shown >= {f"stages.{stage}" for stage in DISTRIBUTED_STAGES} != set()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which nothing has been run."""
    monkeypatch.chdir(tmp_path)
    for name in ("dvc.yaml", "params.yaml", "data.lock.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scales", tmp_path / "scales")
    Repo.init(str(tmp_path), no_scm=True)
    return tmp_path


def test_what_is_shown_is_what_the_model_saw_though_parameters_have_changed_since(project: Path, world: World) -> None:
    for made, name in ((world.tokens, "data/tokens"), (world.tokenizer, "models/tokenizer")):
        shutil.copytree(made, project / name)
    shutil.copy(world.herd, project / "data/herd.json")
    before = list(inspect.format_step(project, "pretrain@flagship", 3, 2))
    values = Parameters(project).select(config_keys(initial.Config))
    left = {"models/flagship/initial/manifest.json": {"parameters": values}, "metrics/flagship/initial.json": {}}
    for name, content in left.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(json.dumps(content))
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(re.sub(r"^seed: \d+", "seed: 77", params, flags=re.M))
    heading, *after = inspect.format_step(project, "pretrain@flagship", 3, 2)
    assert heading == "the samples of the finished training; parameters changed since: seed" and after == before
    (project / "models/flagship/initial/manifest.json").unlink()
    assert list(inspect.format_step(project, "pretrain@flagship", 3, 2)) != before  # what it would see now
    (project / "models/flagship/initial/manifest.json").write_text("{")
    with pytest.raises(StageError, match=r"manifest\.json is not complete JSON .*; run `dvc repro pretrain@flagship`"):
        list(inspect.format_step(project, "pretrain@flagship", 3, 2))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("nothing", "nothing: not a single stage that trains; these are pretrain@small, "),
        ("encode", "encode: not a single stage that trains"),
        ("sft", "sft: not a single stage"),
        ("member_sft@small", "base does not exist; run `dvc repro member_sft@small`"),
    ],
)
def test_a_stage_that_cannot_be_looked_at_is_named(stage: str, said: str, project: Path) -> None:
    with pytest.raises(StageError, match=re.escape(said)):
        list(inspect.format_step(project, stage, 1, 1))
