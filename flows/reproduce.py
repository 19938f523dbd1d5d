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

from flows import events, scale, watching
from flows.dag import Dag, order_lock
from flows.parameters import Parameters
from flows.project import ROOT, environment
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

    def __init__(self, dag: Dag, workers: int) -> None:
        self._dag = dag
        self._workers = workers
        self._stale = set(dag.stale())
        self._stopped = threading.Event()
        self._said = threading.Lock()
        self._done = 0

    def run(self, watch: Watch) -> None:
        """Runs every stage after those it needs; at the first failure starts no further one, and raises StageError."""
        waiting, running, done = list(self._dag.stages), dict[Future[None], str](), set[str]()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while waiting or running:
                    for name in waiting[:]:
                        if len(running) < self._workers and done.issuperset(self._dag.needs[name]):
                            waiting.remove(name)
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
            self._say(name, "up to date")
            return False
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name],
            cwd=ROOT, env=environment() | link(), text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        changed = True
        assert process.stdout
        for line in process.stdout:
            changed = changed and not re.search(r"didn't change, skipping", line)
            if line.strip() and not _chatter(line):
                print(line, end="", flush=True)
        if process.wait() != 0:
            raise StageError(f"stage {name} failed; what it said stands above, what was done stays done")
        self._say(name, f"{time.monotonic() - started:.1f} s" if changed else "up to date")
        return changed

    def _say(self, name: str, text: str) -> None:
        with self._said:
            self._done += 1
            print(f"[{self._done}/{len(self._dag.stages)}] {name}: {text}", flush=True)


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
    folder = events.begin(name, driver, parameters.scale, parameters.merged)
    before = list(events.lock_file(ROOT))
    reproduction = Reproduction(dag, workers)
    try:
        if watching.connect():
            from flows import prefect_reproduce

            prefect_reproduce.run(name, parameters.scale, lambda watch: reproduction.run(watch))
        else:
            watching.say_plainly(folder)
            reproduction.run(Plain())
    finally:
        order_lock(ROOT, before, dag.stages)


def _chatter(line: str) -> bool:
    """What DVC says after each stage, which is of no use after forty of them."""
    return bool(re.match(r"(Updating lock file|Generating lock file|Use `dvc push`|To track the changes|\tgit add|"
                         r"To enable auto staging|\tdvc config|> )", line))  # fmt: skip


if __name__ == "__main__":
    main()
