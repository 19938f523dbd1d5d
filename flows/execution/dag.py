"""The DAG as DVC reads it: stages, edges, stale stages, and the order of the entries in dvc.lock."""

import heapq
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import PipelineStage, Stage
from dvc.utils.serialize import modify_yaml

from flows.parameters import Parameters
from flows.parameters.files import scale_names
from flows.parameters.resolve import resolved_file
from flows.tracking.events import read_lock
from stages.interface import StageError


@dataclass(frozen=True)
class Dag:
    """The stages of a reproduction of some targets."""

    root: Path
    stages: dict[str, Stage]
    """Name -> stage, in the order in which `dvc repro` would run them."""
    needs: dict[str, list[str]]
    """Name -> names of the stages that must run before."""

    @classmethod
    def read(cls, root: Path, targets: Sequence[str] = ()) -> "Dag":
        """The DAG of `targets` and all they need, or all of dvc.yaml. Raises StageError if DVC refuses it."""
        try:
            repo = Repo(str(root))
            graph = get_active_graph(repo.index.graph)
            plan = plan_repro(graph, collect_stages(repo, targets or ["dvc.yaml"]))
        except DvcException as error:
            raise StageError(str(error)) from None
        return cls(
            root=root,
            stages={stage.addressing: stage for stage in plan},
            needs={stage.addressing: sorted(need.addressing for need in graph.successors(stage)) for stage in plan},
        )

    def critical_path_lengths(self) -> dict[str, int]:
        """Name -> number of stages on the longest path that starts with it."""
        length = dict.fromkeys(self.stages, 1)
        for name in reversed(self.stages):  # a stage comes after those it needs
            for need in self.needs[name]:
                length[need] = max(length[need], 1 + length[name])
        return length

    def priority_order(self) -> list[str]:
        """All stages, those with the longest path below them first."""
        return sorted(self.stages, key=self.critical_path_lengths().__getitem__, reverse=True)

    def take_ready(self, waiting: list[str], done: set[str], free: int) -> list[str]:
        """Removes the first `free` stages whose needs are all `done` from `waiting`, and returns them."""
        taken = [name for name in waiting if done.issuperset(self.needs[name])][:free]
        for name in taken:
            waiting.remove(name)
        return taken

    def makespan(self, seconds: Mapping[str, float], workers: int) -> float:
        """Seconds until all stages are done with `workers` at a time; a stage not in `seconds` takes no time."""
        waiting = self.priority_order()
        running, done, now = list[tuple[float, str]](), set[str](), 0.0
        while waiting or running:
            for name in self.take_ready(waiting, done, workers - len(running)):
                heapq.heappush(running, (now + seconds.get(name, 0.0), name))
            now, name = heapq.heappop(running)
            done.add(name)
        return now

    def stale(self) -> list[str]:
        """The stages that have changed, and those below a stage that has changed, which may have to run.

        The parameters are resolved here as `check` would write them, so stages below `check` are compared with them and
        do not all depend on a change of params.yaml.
        """
        logger, found = logging.getLogger("dvc"), dict[str, None]()
        level = logger.level
        logger.setLevel(logging.ERROR)  # DVC logs each change that it finds
        scales = {resolved_file(scale): scale for scale in (None, *scale_names(self.root))}
        load = cache(lambda file: Parameters(self.root, scales[file]))
        resolving = {name for name, stage in self.stages.items() if any(out.def_path in scales for out in stage.outs)}

        def is_changed(item: Output) -> bool:
            if isinstance(item, ParamsDependency) and item.def_path in scales:
                return bool(item.hash_info.value != load(item.def_path).tracked(item.params))
            return bool(item.status())

        try:
            for name, stage in self.stages.items():
                below = any(need in found for need in self.needs[name] if need not in resolving)
                # `stage.changed` would wait for DVC's lock, which a `dvc repro` in another process holds.
                if below or stage.changed_stage() or any(is_changed(item) for item in (*stage.deps, *stage.outs)):
                    found[name] = None
        finally:
            logger.setLevel(level)
        return list(found)


def is_tracked(stage: Stage) -> bool:
    """Whether the stage is run by flows.stage, which writes its events."""
    return isinstance(stage, PipelineStage) and "flows.stage" in str(stage.cmd).split()


def sort_lock(root: Path, before: Iterable[str], plan: Iterable[str]) -> None:
    """Puts the entries that dvc.lock has gained since `before` in the order of `plan`.

    DVC appends an entry when its stage is done. Stages that run at the same time end in any order; this is that of a
    plain `dvc repro`, so that both write the same bytes.
    """
    names = list(read_lock(root))
    previous = [name for name in before if name in names]
    gained = [name for name in plan if name in names and name not in previous]
    order = [*previous, *gained, *(name for name in names if name not in previous and name not in gained)]
    if order == names:
        return
    with modify_yaml(str(root / "dvc.lock")) as lock:
        for name in order:
            lock["stages"].move_to_end(name)
