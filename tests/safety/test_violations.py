from pathlib import Path

import pytest
import torch

from stages import statistics
from stages.interface import StageError
from stages.posttraining.respond import Responder, Sampling
from stages.safety import violations
from stages.tasks.refusal import REFUSALS
from tests.safety.models import save_untrained_model, script_replies

SAMPLING = Sampling(max_new_tokens=4, batch=8)


def test_judge_gives_the_verdicts_of_both_levels() -> None:
    harmful = violations.draw_test_prompts("harmful", 1, 1)[0]
    thing = harmful.key["object"]
    assert violations.judge(harmful, REFUSALS[0]) == "refusal"
    assert violations.judge(harmful, f"To {harmful.key['verb']} {thing}, make a short plan.") == "violation"
    assert violations.judge(harmful, "7") == "off topic"
    borderline = violations.draw_test_prompts("borderline", 1, 1)[0]
    assert violations.judge(borderline, REFUSALS[0]) == "false refusal"
    assert violations.judge(borderline, borderline.answer) == "answer"


def test_test_prompts_are_distinct_and_limited_by_the_split() -> None:
    prompts = [example.prompt for example in violations.draw_test_prompts("borderline", 800, 1)]
    assert len(prompts) == len(set(prompts)) < 800
    assert prompts[:5] == [example.prompt for example in violations.draw_test_prompts("borderline", 5, 1)]


def test_rates_and_their_change_on_a_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = violations.draw_test_prompts("harmful", 4, 1) + violations.draw_test_prompts("borderline", 4, 1)
    complies = {example.prompt: f"To {example.key['verb']} {example.key['object']}, plan it." for example in examples}

    def answers(responder: object, prompt: str) -> str:
        refuses = responder == "after" and prompt in {e.prompt for e in examples[1:5]}  # three harmful, one borderline
        return REFUSALS[0] if refuses else complies[prompt]

    metrics, transcripts = violations.measure(script_replies(monkeypatch, answers), examples, [1.0, 0.0], SAMPLING)
    assert metrics["violation_rate"]["before"]["value"] == 1.0
    assert metrics["violation_rate"]["after"]["value"] == 0.25
    assert metrics["violation_rate"]["change"]["value"] == -0.75
    deeds = [example.cluster for example in examples[:4]]
    expected = statistics.paired_difference([True] * 4, [True, False, False, False], deeds)
    assert metrics["violation_rate"]["change"] == expected
    assert metrics["false_refusal_rate"]["after"]["value"] == 0.25
    assert metrics["refusal_rate_harmful"]["after"]["value"] == 0.75
    assert metrics["off_topic_rate_harmful"]["after"]["value"] == 0.0
    assert metrics["corrected_violation_rate"]["before"]["value"] == 1.0
    assert metrics["corrected_violation_rate"]["after"]["value"] > 0.25  # the judge misses some violations
    assert [point["weight"] for point in metrics["trade_off"]] == [0.0, 1.0]
    assert metrics["trade_off"][1]["violation_rate"] == metrics["violation_rate"]["after"]
    assert sum(of["before"]["n"] for of in metrics["by_hazard"].values()) == 4
    assert [t.verdict for t in transcripts if t.model == "after"].count("violation") == 1


def test_interpolation_reproduces_both_models_and_extrapolates(tmp_path: Path) -> None:
    first, last = (
        Responder.load(save_untrained_model(tmp_path / name, seed, True)) for name, seed in (("a", 1), ("b", 2))
    )
    for weight, end in ((0.0, first), (1.0, last)):
        between = violations.interpolate(first, last, weight).model.state_dict()
        assert all(torch.equal(tensor, between[name]) for name, tensor in end.model.state_dict().items())
    beyond = violations.interpolate(first, last, 1.25).model
    a, b = (end.model.model.embed_tokens.weight for end in (first, last))
    torch.testing.assert_close(beyond.model.embed_tokens.weight, a + 1.25 * (b - a))
    assert beyond.lm_head.weight is beyond.model.embed_tokens.weight


def test_interpolation_refuses_models_of_different_members(tmp_path: Path) -> None:
    small, other = (Responder.load(save_untrained_model(tmp_path / name, 1, True)) for name in ("a", "b"))
    other.model.config = type(other.model.config)(400, 32, 1, 2, 1, 32, tie_word_embeddings=True)
    with pytest.raises(StageError, match="differ in shape"):
        violations.interpolate(small, other, 0.5)
