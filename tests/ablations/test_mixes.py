"""Small models rank data mixes."""

from pathlib import Path

import numpy as np
import pytest

from stages.ablations import mixes
from stages.tokenizer.corpus import Mix
from tests.ablations.models import LADDER, SKILLS
from tests.ablations.test_trial import COMMON, TRIALS
from tests.fixtures import MIX, World
from tests.recorder import Recorder


def test_extrapolation_is_exact_on_a_power_law() -> None:
    flops = np.array([1e9, 4e9, 6e10])
    law = (
        np.array([[5.0, 4.0, 6.0], [5.5, 4.1, 6.2]])[..., None]
        * (flops / 1e9) ** np.array([-0.1, -0.05, -0.2])[:, None]
    )
    np.testing.assert_allclose(mixes.extrapolate(law[..., :-1], flops), law[..., -1])


def test_rank_correlation_is_spearmans() -> None:
    first = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 3.0, 2.0]])
    second = np.array([[10.0, 20.0, 30.0, 99.0], [4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.0, 3.0]])
    np.testing.assert_allclose(mixes.spearman(first, second), [1.0, -1.0, 0.8])


def test_mixes_are_predicted_from_the_smaller_sizes_only(world: World, tmp_path: Path) -> None:
    sizes = [mixes.Size(shape=shape, tokens=tokens) for shape, tokens in zip(LADDER, (500, 1_000, 2_000), strict=False)]
    candidates = {
        "even": Mix(general=0.25, math=0.25, code=0.25, multilingual=0.25),
        "paper": MIX,
        "prose": Mix(general=0.97, math=0.01, code=0.01, multilingual=0.01),
    }
    section = mixes.Mixes(trials=TRIALS, sizes=sizes, candidates=candidates, skills=SKILLS)
    inputs = {"tokens": world.tokens, "tokenizer": world.tokenizer}
    result = mixes.run(mixes.Config(**vars(COMMON), mixes=section), inputs, {}, Recorder(tmp_path))
    assert len(result["runs"]) == 3 * 3 * TRIALS.seeds
    loss = {(row["variant"], row["seed"]): row["loss"] for row in result["runs"]}
    reached = next(row for row in result["secondary"] if row["quantity"] == "prose: its reached loss")
    assert reached["value"] == pytest.approx(np.mean([loss["prose 2", seed] for seed in (1, 2)]))
    assert -1 <= result["effect"]["value"] <= 1
    assert result["configuration"]["chosen"] in candidates
    assert {"accuracy" in row for row in result["runs"] if row["variant"].endswith("2")} == {True}
    assert not any("accuracy" in row for row in result["runs"] if row["variant"].endswith("0"))
