"""The scales that are shipped: every one is valid, and has the keys of every other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.execution.launcher import DISTRIBUTED_STAGES
from flows.parameters import Parameters, validate
from flows.parameters.files import override, read_scale
from flows.scale import check_rounds, set_scale
from stages.distributed.layout import Layout
from stages.posttraining import dpo, reward, sft
from stages.pretraining import plan
from stages.safety import tuning
from stages.training.loader import split_micro_batches
from tests.flows.project import copy_parameter_files

ROOT = Path(__file__).resolve().parents[2]
SCALES = sorted(path.stem for path in (ROOT / "scales").glob("*.yaml"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_parameter_files(tmp_path)


@pytest.mark.parametrize("name", SCALES)
def test_every_shipped_scale_is_valid(name: str, project: Path) -> None:
    set_scale(project, name)
    check_rounds(validate(project))


def sections(tree: dict) -> set[str]:
    sections = {key: value for key, value in tree.items() if isinstance(value, dict) and key != "ablations"}
    return {f"{key}.{inner}" for key, value in sections.items() for inner in value}


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_has_the_same_sections(name: str) -> None:
    found = {scale: sections(Parameters(ROOT, scale).resolved | {"cluster": {}}) for scale in (name, "toy")}
    assert found[name] == found["toy"]


@pytest.mark.parametrize("name", SCALES)
def test_no_file_repeats_a_value_that_it_inherits(name: str) -> None:
    chain = list(read_scale(ROOT, name).values())
    for nearer, *bases in (chain[start:] for start in range(len(chain) - 1)):
        inherited: dict = {}
        for tree in reversed(bases):
            inherited = override(inherited, tree)
        assert dict(leaves(nearer)).items() & dict(leaves(inherited)).items() == set()


def leaves(tree: dict, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, value as JSON) of all values."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*where, key))
        else:
            yield (*where, key), json.dumps(value)


def test_what_all_scales_have_in_common_is_in_params_yaml() -> None:
    found = [dict(leaves(Parameters(ROOT, name).resolved)).items() for name in SCALES]
    common = dict(leaves(yaml.safe_load((ROOT / "params.yaml").read_text())))
    assert {path for path, _ in set.intersection(*map(set, found))} <= common.keys()


def steps(parameters: Parameters, stage: str) -> list[tuple[int, int]]:
    """(rows or pairs, tokens of a row) of each kind of step of a stage; padded rows are of any length."""
    found = parameters.load_config(plan.Config)
    if stage.startswith("pretraining"):
        name = stage.rpartition(".")[2].replace("_", " ")
        phases = [phase for phase in plan.planned_phases(found, 1e12) if phase.name.startswith(name)]
        return [(phase.batch_tokens // phase.length, phase.length) for phase in phases]
    safety = parameters.load_config(tuning.Config).safety
    batches = {
        "posttraining.sft": [parameters.load_config(sft.Config).sft.batch],
        "posttraining.dpo": [parameters.load_config(dpo.Config).dpo.tuning.batch],
        "posttraining.reward": [parameters.load_config(reward.Config).reward.tuning.batch],
        "safety.tuning": [safety.sft.batch, safety.dpo.tuning.batch],
    }
    return [(batch, found.pretraining.length) for batch in batches[stage]]


@pytest.mark.parametrize("member", ["small", "medium", "flagship"])
@pytest.mark.parametrize("name", ["8b", "70b", "405b"])
def test_the_layouts_of_a_clusters_scale_take_every_step_of_every_stage(name: str, member: str) -> None:
    """Of the sizes that are planned: heads, layers and sequences divide, and each data-parallel rank has rows."""
    parameters = Parameters(ROOT, scale=name)
    model, _ = plan.member_sizes(parameters.load_config(plan.Config), None)[0][member]
    micro_tokens = parameters.load_config(sft.Config).training.micro_tokens
    cluster = parameters.cluster
    assert cluster.launcher == "slurm"
    for stage in DISTRIBUTED_STAGES:
        layout = cluster.layout_of(stage, [member])
        assert layout.world_size % cluster.ranks_per_node == 0
        for rows, length in steps(parameters, stage):
            layout.check(model, length)
            for rank in (0, layout.dp - 1):
                micro = split_micro_batches(rows, micro_tokens * layout.cp // length or 1, rank, layout.dp)
                assert sum(map(len, micro)) == rows // layout.dp + (rank < rows % layout.dp)


@pytest.mark.parametrize("name", ["8b", "70b", "405b"])
def test_the_flagship_is_trained_in_the_layouts_that_are_planned(name: str) -> None:
    parameters = Parameters(ROOT, scale=name)
    short, long = parameters.load_config(plan.Config).plan.layouts
    for stage, planned in (
        ("pretraining.initial", short),
        ("pretraining.long_context", long),
        ("pretraining.annealing", short),
    ):
        fields = {field: getattr(planned, field) for field in Layout.model_fields}
        assert parameters.cluster.layout_of(stage, ["flagship"]) == Layout(**fields)
