"""Over-trained members against optimal ones."""

import json
import math
from pathlib import Path

import pytest

from stages.ablations import overtraining
from stages.scaling.fit import optimal_tokens
from stages.scaling.flops import training_flops
from tests.ablations.models import LADDER, SKILLS
from tests.ablations.test_trial import COMMON, SHAPE, TRIALS
from tests.fixtures import MIX, VOCAB_SIZE, World
from tests.recorder import Recorder


def test_overtraining_compares_at_equal_parameters_and_at_equal_flops(world: World, tmp_path: Path) -> None:
    # D = A C^0.5 through 2,000 tokens for the trials' shape.
    small = COMMON.architecture.config(SHAPE, VOCAB_SIZE)
    log_a = math.log(2_000) - 0.5 * math.log(6 * small.parameters * 2_000)
    herd = tmp_path / "herd.json"
    herd.write_text(json.dumps({"fit": {"alpha": {"value": 0.5}, "log_a": {"value": log_a}}}))
    section = overtraining.Overtraining(trials=TRIALS, factor=4, skills=SKILLS)
    config = overtraining.Config(**vars(COMMON), mix=MIX, ladder=LADDER, overtraining=section)
    inputs = {"tokens": world.tokens, "tokenizer": world.tokenizer, "herd": herd}
    result = overtraining.run(config, inputs, {}, Recorder(tmp_path / "scratch"))
    runs = result["configuration"]["runs"]
    assert runs["optimal"]["tokens"] == pytest.approx(2_000)
    assert runs["over-trained"] == {"parameters": small.parameters, "tokens": pytest.approx(8_000)}
    spent = [training_flops(runs[name]["parameters"], runs[name]["tokens"]) for name in ("over-trained", "larger")]
    assert spent[0] == pytest.approx(spent[1])
    # The larger one is the rung nearest to its own optimum for these FLOPs: twice the parameters, by a root law.
    fit = {"alpha": {"value": 0.5}, "log_a": {"value": log_a}}
    sizes = [COMMON.architecture.config(rung, VOCAB_SIZE).parameters for rung in LADDER]
    best = min(sizes, key=lambda n: abs(math.log(6 * n * optimal_tokens(n, fit) / spent[0])))
    assert runs["larger"]["parameters"] == best > small.parameters
    assert result["effect"]["value"] > 0  # four times the tokens, of which a tiny model cannot have enough
    assert {row["variant"] for row in result["runs"]} == {"optimal", "over-trained", "larger"}
