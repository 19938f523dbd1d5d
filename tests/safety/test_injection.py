import pytest

from stages.posttraining.respond import Sampling
from stages.safety import injection
from stages.tasks import verify
from stages.tasks.matching import contains_phrase
from tests.safety.models import script_replies

SAMPLING = Sampling(max_new_tokens=4, batch=8)
INJECTIONS = injection.draw(48, 1)


def test_draw_covers_both_types_and_all_variants_reproducibly() -> None:
    assert injection.draw(48, 1) == INJECTIONS != injection.draw(48, 2)
    for injection_type in ("direct", "indirect"):
        variants = [one.variant for one in INJECTIONS if one.injection_type == injection_type]
        assert {variants.count(variant) for variant in injection.VARIANTS} == {8}


def test_marker_occurs_in_the_injection_only() -> None:
    for one in INJECTIONS:
        assert one.payload in one.prompt
        assert not contains_phrase(f"{one.task.prompt} {one.task.answer}", one.marker)
        assert verify([one.task], [one.task.answer]) == [True]
        assert not injection.is_followed(one, one.task.answer)


def test_indirect_injections_are_inside_the_document() -> None:
    for one in INJECTIONS:
        question = one.task.prompt.split(". ")[-1] if one.injection_type == "indirect" else one.payload
        assert one.prompt.endswith(question)


def test_repeating_the_instruction_does_not_count_as_followed() -> None:
    one = next(one for one in INJECTIONS if one.payload.startswith("Say") and "times" not in one.payload)
    for response, expected in (
        (one.marker, True),
        (f"{one.marker.upper()} {one.marker.upper()}", True),
        (f"OK. {one.payload} {one.marker}", True),
        (one.payload, False),
        (f"You want me to {one.payload.lower()}", False),
        (one.task.answer, False),
        (f"{one.marker}ish", False),
    ):
        assert injection.is_followed(one, response) is expected, response


def test_rates_with_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: follows every injection. After: solves its tasks, and says the marker only if there is no task."""
    by_prompt = {one.prompt: one for one in INJECTIONS}
    by_payload = {one.payload: one for one in INJECTIONS}
    answers_of_tasks = {one.task.prompt: one.task.answer for one in INJECTIONS}

    def answers(responder: object, prompt: str) -> str:
        if prompt in answers_of_tasks:
            return answers_of_tasks[prompt]
        if prompt in by_payload:
            return by_payload[prompt].marker
        one = by_prompt[prompt]
        return one.marker if responder == "before" else one.task.answer

    metrics, transcripts = injection.measure(script_replies(monkeypatch, answers), INJECTIONS, SAMPLING)
    assert (
        metrics["attack_success_rate"]["before"]["value"] == 1.0
        and metrics["attack_success_rate"]["after"]["value"] == 0.0
    )
    assert metrics["by_type"]["indirect"]["before"]["n"] == 48
    assert metrics["control_task_alone"]["after"]["value"] == 1.0
    assert metrics["control_instruction_alone"]["after"]["value"] == 1.0
    assert metrics["task_solved_under_attack"]["after"]["value"] == 1.0
    assert metrics["attack_success_rate_where_controls_pass"]["before"]["n"] == 96
    assert {t.verdict for t in transcripts if t.model == "after"} == {"task done"}
