"""Over-training, annealing, the value of a data set, and mixes: each compares what it says it compares."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stages.ablations import annealing, data_value, mixes, overtraining
from stages.ablations.skills import Skills
from stages.posttraining.respond import Sampling
from stages.pretraining.annealing import Annealing
from stages.scaling.fit import optimal_tokens
from stages.scaling.flops import training_flops
from stages.tasks.held_out import Evaluation
from stages.tokenizer.corpus import Mix
from tests.ablations.test_trial import COMMON, SHAPE, TRIALS
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, VOCAB_SIZE, World, contents, settings
from tests.recorder import Recorder

SKILLS = Skills(evaluation=Evaluation(prompts=2), sampling=Sampling(max_new_tokens=4, batch=64))
LADDER = [SHAPE.model_copy(update={"hidden_size": size, "ffn_size": 2 * size}) for size in (8, 16, 24, 32)]


def test_overtraining_compares_at_equal_parameters_and_at_equal_flops(world: World, tmp_path: Path) -> None:
    # D = A C^0.5 through 2,000 tokens for the trials' shape.
    small = COMMON.architecture.config(SHAPE, VOCAB_SIZE)
    log_a = math.log(2_000) - 0.5 * math.log(6 * small.parameters * 2_000)
    herd = tmp_path / "herd.json"
    herd.write_text(json.dumps({"fit": {"alpha": {"value": 0.5}, "log_a": {"value": log_a}}}))
    section = overtraining.Overtraining(trials=TRIALS, factor=4, skills=SKILLS)
    config = overtraining.Config(**vars(COMMON), mix=MIX, ladder=LADDER, overtraining=section)
    inputs = {"tokens": world.tokens, "tokenizer": world.tokenizer, "herd": herd}
    found = overtraining.run(config, inputs, {}, Recorder(tmp_path / "scratch"))
    runs = found["configuration"]["runs"]
    assert runs["optimal"]["tokens"] == pytest.approx(2_000)
    assert runs["over-trained"] == {"parameters": small.parameters, "tokens": pytest.approx(8_000)}
    spent = [training_flops(runs[name]["parameters"], runs[name]["tokens"]) for name in ("over-trained", "larger")]
    assert spent[0] == pytest.approx(spent[1])
    # The larger one is the rung nearest to its own optimum for these FLOPs: twice the parameters, by a root law.
    fit = {"alpha": {"value": 0.5}, "log_a": {"value": log_a}}
    sizes = [COMMON.architecture.config(rung, VOCAB_SIZE).parameters for rung in LADDER]
    best = min(sizes, key=lambda n: abs(math.log(6 * n * optimal_tokens(n, fit) / spent[0])))
    assert runs["larger"]["parameters"] == best > small.parameters
    assert found["effect"]["value"] > 0  # four times the tokens, of which a tiny model cannot have enough
    assert {row["variant"] for row in found["runs"]} == {"optimal", "over-trained", "larger"}


def annealed(world: World, scratch: Path, member: str, **more: Path) -> dict:
    section = annealing.AnnealingComparison(seeds=2, skills=SKILLS, domain_tasks=["arithmetic", "facts"])
    own = Annealing(start=0.5, mix=Mix(general=0.1, math=0.7, code=0.1, multilingual=0.1), checkpoints=2, control=False)
    config = annealing.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, own, section)
    herd = json.loads(world.herd.read_text())
    herd["members"]["small"] = herd["members"]["flagship"]
    (scratch.parent / "herd.json").write_text(json.dumps(herd))
    inputs = world.pretraining_inputs | {"herd": scratch.parent / "herd.json"} | more
    return annealing.run(config, inputs, {}, Recorder(scratch, member=member))


def test_the_gain_of_small_is_set_against_the_flagships(world: World, tmp_path: Path) -> None:
    before = contents(world.model)
    small = annealed(world, tmp_path / "small", "small")
    assert small["effect"]["compared"].endswith("small")
    assert small["also"][0]["compared"].startswith("accuracy on arithmetic and facts")
    assert small["configuration"]["steps"] == round(4_000 * PRETRAINING.annealing / PRETRAINING.batch_tokens)
    for row, other in zip(small["runs"], small["runs"][1:], strict=False):
        assert row["loss"] != other["loss"]
    # As if small had gained much.
    runs = [row | {"accuracy": 50.0 + row["seed"] % 2 if row["variant"] == "with" else 20.0} for row in small["runs"]]
    (tmp_path / "data-09.json").write_text(json.dumps(small | {"runs": runs}))
    flagship = annealed(world, tmp_path / "flagship", "flagship", smaller=tmp_path / "data-09.json")
    assert flagship["effect"]["value"] == pytest.approx(30.5 - flagship["also"][0]["value"])
    assert contents(world.model) == before


def test_unpaired_runs_have_welchs_interval() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 7.0]), np.array([0.0, 0.5, 1.0])
    found = annealing.unpaired(first, second)
    reference = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((reference.low, reference.high))
    assert annealing.unpaired(np.zeros(3), np.ones(3)) == {"value": -1.0, "low": -1.0, "high": -1.0, "n": 3}


def test_the_valued_source_is_kept_out_of_the_corpus(world: World, tmp_path: Path) -> None:
    options = data_value.DataValue(trials=TRIALS, anneal_tokens=2_000, share=0.3, source="sums", held_out_per_mille=200)
    corpus = [
        {
            "id": f"{n * 7919 % 1000:08x}",
            "text": f"{n} plus {n} is {2 * n} " * 9,
            "source": ("web", "sums")[n % 2],
            "bucket": ("general", "math", "code", "multilingual")[n // 2 % 4],
        }
        for n in range(400)
    ]
    found = data_value.parts(corpus, options, seed=1)
    for part in ("train", "validation"):
        assert {row["source"] for bucket in ("general", "math") for row in found[part][bucket]} == {"web"}
        assert {row["source"] for row in found[part]["good"]} == {"sums"}
    good, mixed = found["train"]["good"], found["train"]["shuffled"]
    assert all(sorted(a["text"].split()) == sorted(b["text"].split()) for a, b in zip(good, mixed, strict=True))
    assert all(a["text"] != b["text"] for a, b in zip(good, mixed, strict=True))
    assert "shuffled" not in found["validation"]


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
    found = mixes.run(mixes.Config(**vars(COMMON), mixes=section), inputs, {}, Recorder(tmp_path))
    assert len(found["runs"]) == 3 * 3 * TRIALS.seeds
    loss = {(row["variant"], row["seed"]): row["loss"] for row in found["runs"]}
    reached = next(row for row in found["also"] if row["compared"] == "prose: its reached loss")
    assert reached["value"] == pytest.approx(np.mean([loss["prose 2", seed] for seed in (1, 2)]))
    assert -1 <= found["effect"]["value"] <= 1
    assert found["configuration"]["chosen"] in candidates
    assert {"accuracy" in row for row in found["runs"] if row["variant"].endswith("2")} == {True}
    assert not any("accuracy" in row for row in found["runs"] if row["variant"].endswith("0"))
