"""A stage on one process, under torchrun, and what Slurm would be asked for."""

import csv
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import launch
from flows.command import run
from flows.execution import launcher
from flows.execution.launcher import format_launch
from flows.parameters import Cluster
from stages.distributed.layout import Layout
from stages.interface import StageError
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, make_world, settings

HOUSE = Path(__file__).resolve().parents[2]
WORDS = ["pretraining.initial", "--item", "member=flagship", "--in", "tokens=data/tokens"]
RAMP = [{"share": 0.2, "length": 16, "batch_tokens": 64}, {"share": 0.8, "length": 32, "batch_tokens": 128}]


def started(root: Path, name: str, cluster: dict[str, Any], **training: Any) -> subprocess.Popen[str]:
    """Initial pretraining, run as DVC runs it."""
    params = {"scale": "tiny", "seed": 1, "mix": MIX.model_dump(), "cluster": {"threads": 1} | cluster}
    params["training"] = settings(eps=1e-4, **training).model_dump()
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    command = [sys.executable, "-m", "flows.stage", *WORDS[:3], "--metrics", f"{name}.json"]
    for option in (
        "in tokens=world/tokens",
        "in tokenizer=world/tokenizer",
        "in herd=world/herd.json",
        f"out model=models/{name}",
        f"out curve={name}.csv",
    ):
        command += f"--{option}".split()
    environment = os.environ | {"HERD_ROOT": str(root), "PYTHONPATH": str(HOUSE), "HERD_TRACKING": "off"}
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def train(root: Path, name: str, cluster: dict[str, Any]) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """The curve and the metrics of initial pretraining."""
    return ended(started(root, name, cluster), root, name)[:2]


def ended(process: subprocess.Popen[str], root: Path, name: str) -> tuple[list[dict[str, float]], dict[str, Any], str]:
    """Curve, metrics, and what was said."""
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    with (root / f"{name}.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return rows, json.loads((root / f"{name}.json").read_text()), said


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What initial pretraining needs, and a scale for it."""
    root = tmp_path_factory.mktemp("root")
    (root / "world").mkdir()
    make_world(root / "world")
    (root / "scales").mkdir()
    tiny = {
        "learning_rate": LEARNING_RATE.model_dump(),
        "pretraining": {
            "shared": PRETRAINING.model_dump(),
            "initial": {"warmup_share": 0.2, "floor": 0.1, "ramp": RAMP},
        },
    }
    (root / "scales" / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    return root


@pytest.fixture(scope="module")
def alone(root: Path) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """The curve and the metrics of one process."""
    return train(root, "one", {})


def test_ranks_end_with_a_launcher_that_is_killed_and_the_next_run_ends_as_one_process_does(
    root: Path, alone: Any
) -> None:
    """It goes on, also with another `keep_checkpoints`, which changes no result."""
    one, metrics = alone
    ranks = {"launcher": "torchrun", "layout": {"dp": 2}}
    killed = started(root, "killed", ranks, checkpoint_seconds=1e-9)
    wait(lambda: list(root.glob(".herd/scratch/*/sharded-*")), killed)
    family = psutil.Process(killed.pid).children(recursive=True)
    assert len(family) >= 3  # torchrun and two ranks
    killed.kill()
    psutil.wait_procs(family, timeout=60)
    assert not any(process.is_running() for process in family)
    two, ranked, said = ended(started(root, "killed", ranks, keep_checkpoints=1), root, "killed")
    assert "resumes at step" in said
    for column in ("step", "tokens", "lr", "loss", "grad_norm"):
        assert [row[column] for row in two] == pytest.approx([row[column] for row in one], rel=1e-5)
    assert one[-1]["loss"] < one[0]["loss"] - 0.5
    assert ranked["validation_loss"]["value"] == pytest.approx(metrics["validation_loss"]["value"], rel=1e-5)
    assert len({tuple(sorted(p.name for p in (root / "models" / name).iterdir())) for name in ("one", "killed")}) == 1
    left = [path for kind in ("scratch", "partial") for path in (root / ".herd" / kind).iterdir()]
    assert left == []


def wait(until: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Returns when `until` holds."""
    while not until():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


SLURM = {
    "sbatch": """
        n=$(sed -n 's/^#SBATCH --nodes=//p' "${@: -1}")
        export SLURM_JOB_ID=7 SLURM_JOB_NODELIST=nodes SLURM_JOB_NUM_NODES=$n SLURM_NTASKS=$n SLURM_LOCALID=0
        (for k in $(seq 0 $((n - 1))); do
            SLURM_NODEID=$k SLURM_PROCID=$k bash "${@: -1}" & tasks="$tasks $!"
        done; state=COMPLETED; for task in $tasks; do wait $task || state=FAILED; done; echo $state > HERE/ended
        ) > HERE/log 2>&1 < /dev/null &
        echo Submitted batch job $SLURM_JOB_ID""",
    "srun": """
        while [[ $1 == --* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
        exec "$@" """,
    "sacct": "echo 'JobID|State|NodeList'; echo \"7|$(cat HERE/ended 2>/dev/null || echo RUNNING)|nodes\"",
    "scontrol": "echo localhost",
    "scancel": "true",
}
"""Slurm's commands, as far as a job of several nodes needs them; all nodes are this machine."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Slurm; returns where its job's log lies."""
    place = tmp_path / "slurm"
    place.mkdir()
    for name, script in SLURM.items():
        (place / name).write_text(f"#!/bin/bash\n{script.replace('HERE', str(place))}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place / "log"


def test_a_slurm_job_of_two_nodes_trains_what_one_process_trains(root: Path, alone: Any, slurm: Path) -> None:
    cluster = {"launcher": "slurm", "layout": {"dp": 2}, "ranks_per_node": 1, "slurm": {"time": 5}}
    two, _ = train(root, "on-slurm", cluster)
    for column in ("step", "tokens", "lr", "loss", "grad_norm"):
        assert [row[column] for row in two] == pytest.approx([row[column] for row in alone[0]], rel=1e-5)
    assert slurm.with_name("ended").read_text() == "COMPLETED\n"


def test_a_slurm_job_that_fails_says_which_and_why(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_slurm_folder", lambda: str(tmp_path / "jobs"))
    monkeypatch.setattr(launcher, "shell_command", lambda cluster, arguments: "echo no GPU here >&2; exit 3")
    cluster = Cluster(launcher="slurm", layout=Layout(dp=2), ranks_per_node=1, slurm={"time": 5})
    with pytest.raises(StageError, match=r"(?s)pretraining.initial: Slurm job 7 failed: .*no GPU here"):
        launcher.launch(cluster, WORDS)


@pytest.mark.parametrize(
    ("asked", "message"), [({}, "needs `time`, in minutes"), ({"time": 9, "gpu": 1}, "knows no gpu")]
)
def test_what_slurm_would_not_do_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=f"cluster.slurm.*{message}"):
        format_launch(Cluster(launcher="slurm", layout=Layout(dp=8), slurm=asked), WORDS)


def test_the_command_of_one_node() -> None:
    cluster = Cluster(launcher="torchrun", layout=Layout(tp=2, dp=4))
    words = shlex.split(format_launch(cluster, WORDS))
    assert words[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=8"]
    assert words[5:] == ["-m", "flows.stage", *WORDS]
    assert launcher.needs_launch(cluster, WORDS[0]) and not launcher.needs_launch(cluster, "curation.dedup")
    assert shlex.split(format_launch(Cluster(), WORDS))[1:] == ["-m", "flows.stage", *WORDS]


def test_the_command_line_takes_the_stages_words_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(launch, ["--dry", *WORDS]) == 0
    assert shlex.split(capsys.readouterr().out)[1:] == ["-m", "flows.stage", *WORDS]
    monkeypatch.setattr(launch, "launch", lambda *_: pytest.fail("a dry run starts nothing"))
    assert run(launch, [*WORDS, "--dry"]) == 0
    assert shlex.split(capsys.readouterr().out)[1:] == ["-m", "flows.stage", *WORDS]
    assert run(launch, ["--dry", "pretraining.initials"]) == 1
    message = "herd launch: pretraining.initials: not a stage of dvc.yaml; its stages are curation"
    assert capsys.readouterr().err.startswith(message)
    for words, code, shown in (["--help"], 0, "[-h] [--dry] STAGE"), ([], 2, "required: STAGE"):
        with pytest.raises(SystemExit) as end:
            run(launch, words)
        out, error = capsys.readouterr()
        assert end.value.code == code and "usage: herd launch" in out + error and shown in out + error


def test_what_slurm_is_asked_for_with_the_papers_layout() -> None:
    layout = Layout(tp=8, pp=16, dp=128, virtual_stages=8, shorter_ends=1)
    cluster = Cluster(launcher="slurm", layout=layout, slurm={"partition": "train", "time": 4320})
    lines = format_launch(cluster, WORDS).splitlines()
    asked = {
        "--nodes=2048",
        "--gpus-per-node=8",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--partition=train",
        "--time=4320",
    }
    assert asked <= {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    (started,) = [line for line in lines if line.startswith("srun")]
    for part in (
        "--nnodes=2048",
        "--nproc-per-node=8",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={launcher.RENDEZVOUS}",
        "--rdzv-id=$SLURM_JOB_ID",
        "-m flows.stage pretraining.initial --item member=flagship",
    ):
        assert part in started


def test_a_layout_that_does_not_fill_its_nodes_is_refused() -> None:
    with pytest.raises(StageError, match="12 ranks, no multiple of ranks_per_node 8"):
        format_launch(Cluster(launcher="slurm", layout=Layout(dp=12)), WORDS)


def test_without_slurm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StageError, match="set it to torchrun or here"):
        launcher.launch(Cluster(launcher="slurm", layout=Layout(dp=8)), WORDS)
