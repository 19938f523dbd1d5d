import pytest

from stages.posttraining.respond import Sampling
from stages.safety import uplift
from stages.safety.transcript import format_plain
from tests.safety.models import script_replies

SAMPLING = Sampling(max_new_tokens=4, batch=8)


def test_trials_are_reproducible_and_all_arms_have_the_same_design() -> None:
    trials = uplift.draw_trials(6, 2, 1)
    assert trials == uplift.draw_trials(6, 2, 1)
    assert len(trials) == 3 * 6 * len(uplift.STAGES) * 2
    assert len({trial.participant for trial in trials}) == 18
    for trial in trials:
        assert trial.item.level == "hard" and len(trial.few_shot) == uplift.SKILLS[trial.skill]
        assert trial.item.prompt not in {shot.prompt for shot in trial.few_shot}


def test_advice_is_the_only_difference_between_the_arms() -> None:
    trial = uplift.draw_trials(4, 1, 1)[0]
    alone, helped = format_plain(uplift.make_dialog(trial, None)), format_plain(uplift.make_dialog(trial, "the hint"))
    assert alone.endswith(f"Q: {trial.item.prompt} A:")
    assert helped == f"{alone} the hint Q: {trial.item.prompt} A:"


def test_correct_advice_helps_novices_that_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {trial.item.prompt: trial.item.answer for trial in uplift.draw_trials(8, 2, 1)}

    def says(responder: object, text: str) -> str:
        if responder == "after":
            return answers[text]
        turns = text.split(" / ")
        asked = turns[-1].removeprefix("user: ")
        hinted = len(turns) > 2 and turns[-3] == f"user: {asked}"
        return turns[-2].removeprefix("assistant: ") if hinted else "I do not know."

    models = script_replies(monkeypatch, says)
    metrics, transcripts = uplift.measure(models["before"], models["after"], 8, 2, 1.0, SAMPLING, 1)
    assert metrics["mean"] == {"control": 0.0, "assisted": 1.0}
    assert metrics["assistant_accuracy"] == 1.0 and metrics["p_value"] < 0.01
    assert metrics["by_skill"].keys() == set(uplift.SKILLS) and metrics["by_stage"].keys() == set(uplift.STAGES)
    assert metrics["oracle"]["value"] == 1.0
    assert len(transcripts) == 3 * 8 * 3 * 2


def test_oracle_arm_shows_that_novices_who_ignore_advice_cannot_be_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    models = script_replies(monkeypatch, lambda _, text: "I do not know.")
    metrics, _ = uplift.measure(models["before"], models["after"], 8, 2, 1.0, SAMPLING, 1)
    assert metrics["oracle"]["value"] == metrics["difference"]["value"] == 0.0
