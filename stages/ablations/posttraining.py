"""What the ablations of post-training share: the stages of the default run, repeated with other seeds.

Pretraining is not repeated: every seed starts from the run's models. A seed determines the prompts, the samples and the
order of the data; the test prompts are the same for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, TypeVar

from pydantic import Field

from stages.ablations.trial import Job
from stages.evaluation import tasks
from stages.interface import Section
from stages.posttraining import sft
from stages.posttraining.averaging import Tuning
from stages.posttraining.respond import Sampling
from stages.tasks.held_out import Evaluation
from stages.training.null_context import NullContext
from stages.training.parameters import Training

C = TypeVar("C")


class PosttrainingTrials(Section):
    """How often post-training is repeated."""

    seeds: int = Field(ge=2)
    """Repetitions of each variant (assumption; the intervals are Student's t over them)."""


@dataclass(frozen=True)
class TuningConfig:
    """The parameters of SFT and evaluation, with which every ablation of post-training ends."""

    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    sft: Annotated[Tuning, "posttraining.sft"]
    evaluation: Annotated[Evaluation, "evaluation.tasks"]

    def for_stage(self, stage_config: type[C], seed: int) -> C:
        """The configuration of a stage, with the fields of the same names and this seed."""
        names = [field.name for field in fields(stage_config) if field.name != "seed"]  # type: ignore[arg-type]
        make_config: Callable[..., C] = stage_config
        return make_config(seed=seed, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class TuningJob(Job):
    """One repetition; its stages write below `scratch`."""

    config: TuningConfig
    inputs: Mapping[str, Path]

    def run_stage(
        self, stage: ModuleType, name: str, inputs: Mapping[str, Path], outputs: Sequence[str], **item: str
    ) -> dict[str, Path]:
        """Runs a stage with this job's seed and returns the paths of its outputs; a curve is a file."""
        directory = self.scratch / name
        paths = {output: directory / output for output in outputs}
        for output, path in paths.items():
            (directory if output == "curve" else path).mkdir(parents=True, exist_ok=True)
        config = self.config.for_stage(stage.Config, self.seed)
        stage.run(config, inputs, paths, NullContext(directory / "scratch", item))
        return paths

    def finetune(self, name: str, policy: Path, dialogs: Sequence[tuple[str, str]]) -> Path:
        """SFT of `policy` on (prompt, response) pairs; returns the model's directory."""
        model, config = self.scratch / name / "model", self.config
        model.mkdir(parents=True, exist_ok=True)
        context = NullContext(self.scratch / name / "scratch")
        sft.finetune(
            config.sft, config.training, self.seed, {"policy": policy}, {"model": model}, dialogs, context, name
        )
        return model

    def evaluate(self, models: Mapping[str, Path]) -> dict[str, float]:
        """Percent of the test prompts that each model answers correctly; the prompts are those of the default run."""
        answers = self.scratch / "answers"
        answers.mkdir(parents=True, exist_ok=True)
        config = self.config.for_stage(tasks.Config, self.config.seed)
        metrics = tasks.run(config, models, {"answers": answers}, NullContext(answers))
        return {name: 100.0 * metrics[name]["all"]["value"] for name in models}
