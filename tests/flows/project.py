"""A miniature herd: five stages in a project of its own, small enough to reproduce many times in a test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml

HOUSE = Path(__file__).resolve().parents[2]

FILES = {
    "params.yaml": """
        scale: smoke  # which file of scales/ is read
        seed: 7
        trouble: {member: ""}

        # the rounds of post-training
        rounds:
          last: 1
          inputs:
            "1": {policy: models/flagship/base, earlier: data/prompts}
        """,
    "scales/smoke.yaml": """
        train: {steps: 1200, rate: 0.5}
        posttraining: {rounds: 1}
        budget_minutes: 1
        """,
    "scales/toy.yaml": """
        train: {steps: 1300, rate: 0.5}
        posttraining: {rounds: 3}
        budget_minutes: 2
        """,
    "dvc.yaml": """
        stages:
          source:
            cmd: python -m flows.stage mini.source --out documents=data/source --metrics metrics/source.json
            deps: [stages/mini/source.py]
            params: [seed]
            outs: [data/source]
            metrics: [{metrics/source.json: {cache: false}}]
          count:
            cmd: >-
              python -m flows.stage mini.count --in documents=data/source --out counts=data/count
              --metrics metrics/count.json
            deps: [data/source, stages/mini/count.py]
            outs: [data/count]
            metrics: [{metrics/count.json: {cache: false}}]
          train:
            matrix: {member: [small, flagship]}
            cmd: >-
              python -m flows.stage mini.train --item member=${item.member} --in documents=data/source
              --out model=models/${item.member}/chat --metrics metrics/train-${item.member}.json
            deps: [data/source, stages/mini/train.py]
            params: [trouble, {"scales/${scale}.yaml": [train]}]
            outs: ["models/${item.member}/chat"]
            metrics: [{"metrics/train-${item.member}.json": {cache: false}}]
          report:
            cmd: >-
              python -m flows.stage mini.report --in counts=data/count --in small=models/small/chat
              --in flagship=models/flagship/chat --out page=reports/index.html --metrics metrics/report.json
            deps: [data/count, models/small/chat, models/flagship/chat, stages/mini/report.py]
            outs: [reports/index.html]
            metrics: [{metrics/report.json: {cache: false}}]
        """,
    "stages/__init__.py": """
        import pkgutil

        __path__ = pkgutil.extend_path(__path__, __name__)  # the rest of the package is in the house
        """,
    "stages/mini/__init__.py": "",
    "stages/mini/source.py": """
        from dataclasses import dataclass
        from typing import Annotated

        @dataclass(frozen=True)
        class Config:
            seed: Annotated[int, "seed"]

        def run(config, inputs, outputs, context):
            (outputs["documents"] / "documents.txt").write_text("\\n".join(str(config.seed * i) for i in range(40)))
            context.note("forty documents")
            context.table("documents", [{"kind": "odd", "count": 20}, {"kind": "even", "count": 20}])
            return {"documents": 40, "by": {"odd": 20, "even": [10, 10]}}
        """,
    "stages/mini/count.py": """
        import os
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Config:
            pass

        def length(line):
            first = os.environ.get("MINI_CRASH")
            if first and not os.path.exists(first):
                open(first, "w").close()
                os._exit(9)  # a worker that dies, once
            return len(line)

        def run(config, inputs, outputs, context):
            lines = (inputs["documents"] / "documents.txt").read_text().splitlines()
            context.note("six of the lines")
            lengths = context.map("length", length, lines[:6], kind="process")
            for line, letters in enumerate(lengths[:2]):
                curve = [(1, 3.0), (2, 1.5)]
                context.log_child_run(f"line {line}", {"line": line, "of": "source"}, {"length": letters}, curve)
            (outputs["counts"] / "counts.txt").write_text(repr(lengths))
            return {"characters": sum(lengths)}
        """,
    "stages/mini/train.py": """
        import os, time
        from dataclasses import dataclass
        from typing import Annotated
        from stages.interface import Section, StageError

        class Trouble(Section):
            member: str

        class Train(Section):
            steps: int
            rate: float

        @dataclass(frozen=True)
        class Config:
            train: Annotated[Train, "train"]
            trouble: Annotated[Trouble, "trouble"]

        def run(config, inputs, outputs, context):
            member = context.item["member"]
            for step in range(config.train.steps):
                context.scalars(step, {"loss": 2 / (step + 1), "rate": config.train.rate})
                context.progress("steps", step + 1, config.train.steps)
            if member == config.trouble.member:
                raise StageError("models: the loss is not finite; lower train.rate")
            if (flag := os.environ.get("MINI_WAIT")) and member == "small":
                open(flag + ".started", "w").close()
                while not os.path.exists(flag):  # until the test has done its harm
                    time.sleep(0.05)
            seen = context.map("shard", lambda i: i * i, range(3))
            (outputs["model"] / "weights.txt").write_text(f"{member} {config.train.steps} {seen}")
            return {"loss": 2 / config.train.steps, "steps": config.train.steps, "stable": True}
        """,
    "stages/mini/report.py": """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Config:
            pass

        def run(config, inputs, outputs, context):
            text = "".join(path.joinpath("manifest.json").read_text() for path in inputs.values())
            outputs["page"].write_text(f"<html>{len(text)}</html>")
            return {"bytes": len(text)}
        """,
}


@dataclass(frozen=True)
class Project:
    """One miniature project in its folder."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> "Project":
        for name, text in FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        project = cls(root)
        for command in (
            ["git", "init", "-q"],
            ["dvc", "init", "-q"],
            ["git", "add", "-A"],
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "mini"],
        ):
            project.run(command)
        return project

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HERD_", "DVC_", "PREFECT_", "MLFLOW_"))}
        return kept | {
            "HERD_ROOT": str(self.root),
            "PYTHONPATH": str(HOUSE),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "1",
            **extra,
        }

    def start(self, command: list[str], **extra: str) -> subprocess.Popen[str]:
        # What a shell runs in the background ignores interrupts, and hands that on to what it starts.
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(**extra),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, command: list[str], code: int = 0, **extra: str) -> str:
        """The output of `command`, which must end with `code`."""
        process = self.start(command, **extra)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == code, f"{' '.join(command)} ended with {process.returncode}:\n{output}"
        return output

    def flows(self, module: str, *words: str, code: int = 0, **extra: str) -> str:
        return self.run([sys.executable, "-m", f"flows.{module}", *words], code=code, **extra)

    def repro(self, *words: str, code: int = 0, **extra: str) -> str:
        return self.run(["dvc", "repro", *words], code=code, **extra)

    def sync(self) -> None:
        """Waits until MLflow has all that has happened."""
        self.flows("tracking.mlflow_sync", "--once")

    def events(self, stage: str) -> list[dict]:
        """The events of the latest run of a stage."""
        path = max(self.root.glob(f".herd/events/*/{stage}.jsonl"), key=lambda path: path.stat().st_mtime)
        return [json.loads(line) for line in path.read_text().splitlines()]

    def forget(self, *stages: str) -> None:
        """As if these stages had never run."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())
        for stage in stages:
            for out in lock["stages"].pop(stage)["outs"]:
                path = self.root / out["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
        shutil.rmtree(self.root / ".dvc/cache/runs")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def copy_parameter_files(directory: Path) -> Path:
    """Copies the parameters of all scales, and the pipelines that read them, into `directory`; returns it."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(HOUSE / name, directory)
    shutil.copytree(HOUSE / "scales", directory / "scales")
    (directory / "ablations").mkdir()
    shutil.copy(HOUSE / "ablations/dvc.yaml", directory / "ablations")
    return directory
