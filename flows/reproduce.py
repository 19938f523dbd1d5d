"""Reproduces the DAG, several stages at a time, as one Prefect flow run if a server answers.

    python -m flows.reproduce [--scale SCALE] [--workers N] [STAGE ...]

DVC decides what is stale and runs each stage, as in `dvc repro`, and dvc.lock is the same afterwards, byte for byte.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

import psutil

from flows import scale
from flows.execution.dag import Dag, order_lock
from flows.execution.display import Display
from flows.parameters import Parameters
from flows.project import ROOT, environment
from flows.tracking import events
from flows.tracking import prefect_client as watching
from stages.interface import StageError

Variables = dict[str, str]
"""Of the environment of a stage's process, beside what it has anyway."""
Run = Callable[[Callable[[], Variables]], bool]
"""Runs one stage if it is stale, with the variables that its argument then gives; says whether it was."""


class Watch(Protocol):
    """Somebody who wants to see the reproduction."""

    def stage(self, name: str, needs: list[str], run: Run) -> None: ...


class Plain:
    """Nobody watches."""

    def stage(self, name: str, needs: list[str], run: Run) -> None:
        run(Variables)


class Reproduction:
    """One reproduction of a DAG."""

    def __init__(self, dag: Dag, workers: int, display: Display) -> None:
        self._dag = dag
        self._workers = workers
        self._display = display
        self._stale = set(dag.stale())
        self._stopped = threading.Event()

    def run(self, watch: Watch) -> None:
        """Runs every stage after those it needs; at the first failure starts no further one, and raises StageError."""
        waiting = self._dag.queue()
        running, done = dict[Future[None], str](), set[str]()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while waiting or running:
                    for name in self._dag.take(waiting, done, self._workers - len(running)):
                        running[pool.submit(self._stage, name, watch)] = name
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done.add(running.pop(future))
                        future.result()
            except BaseException:
                self._stopped.set()
                raise

    def _stage(self, name: str, watch: Watch) -> None:
        watch.stage(name, self._dag.needs[name], lambda link: self._reproduce(name, link))

    def _reproduce(self, name: str, link: Callable[[], Variables]) -> bool:
        if self._stopped.is_set():
            raise StageError(f"{name}: not started")
        if name not in self._stale:  # neither it nor anything above it has changed
            self._display.ended(name, "up to date")
            return False
        started, said = time.monotonic(), None
        self._display.started(name)
        try:
            changed = self._run(name, link())
            said = f"{time.monotonic() - started:.1f} s" if changed else "up to date"
        finally:
            self._display.ended(name, said)
        return changed

    def _run(self, name: str, variables: Variables) -> bool:
        """Lets DVC run one stage; says whether it did anything."""
        bars = {"HERD_BARS": "off"} if self._display.live else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name],
            cwd=ROOT,
            env=environment() | bars | variables,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        changed = True
        assert process.stdout
        for line in process.stdout:
            changed = changed and not re.search(r"didn't change, skipping", line)
            if line.strip() and not _chatter(line):
                self._display.line(line)
        if process.wait() != 0:
            raise StageError(f"stage {name} failed; what it said stands above, what was done stays done")
        return changed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="what to reproduce, with all it needs; default: all")
    parser.add_argument("--scale", help="a file of scales/, which becomes the scale in params.yaml")
    parser.add_argument("--workers", type=int, default=2, help="stages that run at the same time (default: 2)")
    arguments = parser.parse_args()
    os.environ.update(environment())
    code = 1
    try:
        if arguments.scale:
            scale.choose(ROOT, arguments.scale)
        reproduce(arguments.stages, arguments.workers)
        code = 0
    except StageError as error:
        print(f"reproduce: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("reproduce: interrupted; what was done stays done", file=sys.stderr)
        code = 130
    watching.leave(code)


def reproduce(stages: list[str], workers: int) -> None:
    """Reproduces `stages` and all they need; raises StageError naming the stage that failed."""
    parameters = Parameters(ROOT)
    dag = Dag.read(ROOT, stages)
    driver = psutil.Process()
    name = os.environ.setdefault("HERD_REPRODUCTION", events.name_of(driver))
    folder = events.begin(name, driver, parameters.scale, parameters.resolved)
    before = list(events.lock_file(ROOT))
    try:
        watched = watching.connect()
        if not watched:
            watching.say_plainly(folder)
        with Display(folder, len(dag.stages)) as display:
            reproduction = Reproduction(dag, workers, display)
            if watched:
                from flows.tracking import prefect_reproduction as prefect_reproduce

                prefect_reproduce.run(name, parameters.scale, lambda watch: reproduction.run(watch))
            else:
                reproduction.run(Plain())
    finally:
        order_lock(ROOT, before, dag.stages)


def _chatter(line: str) -> bool:
    """What DVC says after each stage, which is of no use after forty of them."""
    return bool(
        re.match(
            r"(Updating lock file|Generating lock file|Use `dvc push`|To track the changes|\tgit add|"
            r"To enable auto staging|\tdvc config|> )",
            line,
        )
    )


if __name__ == "__main__":
    main()
