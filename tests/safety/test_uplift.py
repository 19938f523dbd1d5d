import pytest

from stages.posttraining.respond import Sampling
from stages.safety import uplift
from stages.safety.asking import as_web
from tests.safety.models import scripted

SAMPLING = Sampling(max_new_tokens=4, batch=8)


def test_participants_are_seeded_and_sit_the_same_design_in_both_arms() -> None:
    seats = uplift.sittings(6, 2, 1)
    assert seats == uplift.sittings(6, 2, 1)
    assert len(seats) == 2 * 6 * len(uplift.STAGES) * 2
    assert len({seat.participant for seat in seats}) == 12
    for seat in seats:
        assert seat.item.level == "hard" and len(seat.shots) == uplift.SKILLS[seat.skill]
        assert seat.item.prompt not in {shot.prompt for shot in seat.shots}


def test_the_hint_is_the_only_difference_between_the_arms() -> None:
    seat = uplift.sittings(4, 1, 1)[0]
    alone, helped = as_web(uplift.dialog(seat, None)), as_web(uplift.dialog(seat, "the hint"))
    assert alone.endswith(f"Q: {seat.item.prompt} A:")
    assert helped == f"{alone} the hint Q: {seat.item.prompt} A:"


def test_an_assistant_that_knows_lifts_novices_that_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {seat.item.prompt: seat.item.answer for seat in uplift.sittings(8, 2, 1)}

    def says(responder: object, text: str) -> str:
        if responder == "after":
            return answers[text]
        turns = text.split(" / ")
        asked = turns[-1].removeprefix("user: ")
        hinted = len(turns) > 2 and turns[-3] == f"user: {asked}"
        return turns[-2].removeprefix("assistant: ") if hinted else "I do not know."

    models = scripted(monkeypatch, says)
    metrics, records = uplift.measure(models["before"], models["after"], 8, 2, 1.0, SAMPLING, 1)
    assert metrics["mean"] == {"control": 0.0, "assisted": 1.0}
    assert metrics["assistant_accuracy"] == 1.0 and metrics["p_value"] < 0.01
    assert metrics["by_skill"].keys() == set(uplift.SKILLS) and metrics["by_stage"].keys() == set(uplift.STAGES)
    assert len(records) == 2 * 8 * 3 * 2
