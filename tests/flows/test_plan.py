"""`herd plan` at every scale that is shipped, and its numbers for 405B against the paper's."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import plan as command
from flows.command import run as run_command
from flows.parameters import Parameters
from stages.infrastructure.planner import PlannedCluster
from stages.infrastructure.storage import TEXT_STAGES
from stages.interface import StageError

ROOT = Path(__file__).resolve().parents[2]
SCALES = sorted(path.stem for path in (ROOT / "scales").glob("*.yaml"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def flagship() -> dict[str, Any]:
    return command.make_plan("405b")


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_a_plan_that_runs(scale: str) -> None:
    found = command.make_plan(scale)
    assert found["problems"] == [] and found["fits"]
    assert found["scale"] == scale and "plan.rung" in found["source"]
    json.dumps(found, allow_nan=False)
    assert all(row["quantity"] and row["value"] for row in found["table"])


def test_405b_takes_the_papers_flops_and_tokens(flagship: dict[str, Any]) -> None:
    """1, 3.2, 3.4: 3.8e25 FLOPs, 15.6T tokens, 1,200,000 steps of the cosine."""
    assert 6 * flagship["model"]["parameters"] * 15.6e12 == pytest.approx(3.8e25, rel=0.01)
    assert flagship["tokens"] == pytest.approx(15.6e12, rel=0.01)
    assert sum(phase["steps"] for phase in flagship["phases"][:3]) == pytest.approx(1.2e6, rel=0.11)
    long_context = sum(phase["tokens"] for phase in flagship["phases"] if phase["name"].startswith("long"))
    assert long_context == pytest.approx(800e9, rel=0.01)  # 3.4.2


def test_405b_runs_in_table_4s_layouts(flagship: dict[str, Any]) -> None:
    """Table 4: [8, 1, 16, 128] at 8K and [8, 16, 16, 8] at 128K, 16M tokens a batch, 41% and 38% MFU."""
    by_name = {phase["name"]: phase for phase in flagship["phases"]}
    main, longest = by_name["initial 3"], by_name["long context 131,072"]
    assert list(main["layout"].values()) == [8, 1, 16, 128] and list(longest["layout"].values()) == [8, 16, 16, 8]
    for phase in (main, longest):
        assert phase["sequences"] * phase["length"] == 16 * 2**20
        assert phase["memory"]["total"] < 80e9
    assert main["micro_batches"] == longest["micro_batches"] == 16  # Table 4: batch per DP
    assert main["device_flops"] == pytest.approx(400e12, rel=0.03)
    assert longest["device_flops"] == pytest.approx(380e12, rel=0.09)


def test_54_days_are_a_part_of_405bs_plan(flagship: dict[str, Any]) -> None:
    """3.3.4: a snapshot of 54 days. At Table 4's 400 TFLOP/s the whole takes 67: 80% of its tokens were trained."""
    days = flagship["days"] * flagship["cluster"]["mfu"] * flagship["cluster"]["peak"] / 400e12
    assert days == pytest.approx(67.1, abs=0.1)
    assert 54 / days * flagship["tokens"] == pytest.approx(12.56e12, rel=0.01)
    assert flagship["elapsed_days"] > flagship["days"] > 54
    assert flagship["effective_time"] > 0.9  # 3.3.4
    assert flagship["energy_mwh"] == pytest.approx(16_384 * 700 * 24 * flagship["elapsed_days"] / 1e6)


def test_405bs_checkpoint_is_of_the_papers_size(flagship: dict[str, Any]) -> None:
    """3.3.1: 1 MB to 4 GB per GPU; 2 TB/s sustained, 7 TB/s at the peak."""
    checkpoint = flagship["checkpoint"]
    assert 1e6 < checkpoint["bytes_per_gpu"] < 4e9
    assert checkpoint["bytes"] == 12 * flagship["model"]["parameters"]
    assert [stall["bytes_per_second"] for stall in checkpoint["stalls"]] == [2e12, 7e12]


def test_a_layout_that_cannot_run_ends_with_1_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--scale", "405b", "--layout", "8x1x8x128") == 1
    shown = capsys.readouterr().out
    assert "every phase: tp 8 x cp 1 x pp 8 x dp 128 = 8,192 is not the 16,384 devices" in shown
    assert "memory: " in shown and "above the limit of 80 GB" in shown
    assert "best for" in shown and "8x16x16x8" in shown


def test_json_is_the_whole_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--scale", "toy", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert run("--scale", "toy", "--json", str(tmp_path / "new" / "plan.json")) == 0
    assert json.loads((tmp_path / "new" / "plan.json").read_text()) == found
    shown = capsys.readouterr().out
    assert all(row["quantity"] in shown and row["value"] in shown for row in found["table"])


def test_wrong_words_are_refused_in_a_line() -> None:
    with pytest.raises(StageError, match="expected TPxCPxPPxDP"):
        command.make_plan("405b", layout="8x1x16")
    with pytest.raises(StageError, match="scale: 'tiny' is not one of 405b"):
        command.make_plan("tiny")
    plan = PlannedCluster(**Parameters(ROOT, "405b").resolved["plan"])
    with pytest.raises(StageError, match="no layout for 262,144 tokens, the longest is for 131,072"):
        plan.layout_for(262_144)
    with pytest.raises(ValueError, match="must ascend"):
        PlannedCluster(**plan.model_dump() | {"layouts": [layout.model_dump() for layout in plan.layouts[::-1]]})


def test_the_stage_of_405b_is_told_what_it_reads() -> None:
    """test_dag.py holds the stage `plan` against its code; the other runs the same code on another scale."""
    own, other = STAGES["plan"], STAGES["plan_405b"]
    code = {dep for dep in own["deps"] if dep.startswith("stages/")}
    assert code <= set(other["deps"]) and all(dep.startswith("flows/") for dep in set(other["deps"]) - code)
    assert other["params"] == [{"data/parameters-405b.yaml": own["params"][0]["data/parameters.yaml"]}]


def test_the_documented_output_is_what_the_command_prints(flagship: dict[str, Any]) -> None:
    printed = (ROOT / "docs" / "planning.md").read_text().split("$ herd plan --scale 405b\n")[1].split("```")[0]
    assert printed.strip() == "\n".join(command.format_plan(flagship)).strip(), (
        "put the new output into docs/planning.md"
    )


def test_text_is_counted_once_for_each_stage_that_writes_it() -> None:
    assert sum("--out documents=" in str(stage.get("cmd")) for stage in STAGES.values()) == TEXT_STAGES


def run(*words: str) -> int:
    return run_command(command, words)
