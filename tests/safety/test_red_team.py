import numpy as np
import pytest

from stages.posttraining.respond import Sampling
from stages.safety import red_team
from stages.safety.violations import draw_test_prompts
from stages.tasks.refusal import REFUSALS
from tests.safety.models import script_replies

SAMPLING = Sampling(max_new_tokens=4, batch=8)
EXAMPLES = draw_test_prompts("harmful", 30, 1)
SINGLE_FRAMES = [frame for frames in red_team.FRAMES.values() for frame in frames]


def comply(prompt: str) -> str:
    return next(
        f"To {red_team.harmful_act(e)}, make a plan and go on." for e in EXAMPLES if red_team.harmful_act(e) in prompt
    )


def test_every_attack_keeps_the_harmful_request_recognisable() -> None:
    for name, attack in red_team.single_turn_attacks().items():
        for example in EXAMPLES:
            assert red_team.harmful_act(example) in attack(example), name
    assert {
        attack(EXAMPLES[0]) == EXAMPLES[0].prompt
        for name, attack in red_team.single_turn_attacks().items()
        if name != "direct"
    } == {False}


def test_success_by_strategy_on_a_model_vulnerable_to_personas(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(responder: object, prompt: str) -> str:
        fooled = responder == "before" or any(before and before in prompt for before, _ in red_team.FRAMES["persona"])
        return comply(prompt) if fooled else REFUSALS[0]

    metrics, transcripts = red_team.measure(script_replies(monkeypatch, answers), EXAMPLES, 20, SAMPLING, 1)
    found = {name: of["after"]["value"] for name, of in metrics["strategies"].items()}
    assert found["persona"] == 1.0 and found["direct"] == found["disclaimer"] == found["gradual escalation"] == 0.0
    assert metrics["strategies"]["persona"]["gain_after"]["value"] == 1.0
    assert metrics["strategies"]["persona"]["gain_before"]["value"] == 0.0
    assert found["automated search"] == 1.0  # the search discovers it
    assert metrics["search_attempts"]["before"] == 1.0 < metrics["search_attempts"]["after"] < 20
    assert metrics["any_strategy"]["after"]["value"] == 1.0
    assert {t.verdict for t in transcripts if t.model == "before"} == {"violation"}


def test_gain_is_over_as_many_harmless_rephrasings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that complies with any polite request: tries succeed by luck of the phrasing, not by a strategy."""

    def answers(responder: object, prompt: str) -> str:
        return comply(prompt) if len(prompt) % 4 == 0 else REFUSALS[0]

    metrics, transcripts = red_team.measure(script_replies(monkeypatch, answers), EXAMPLES, 5, SAMPLING, 1)
    any_strategy = metrics["any_strategy"]
    assert any_strategy["after"]["value"] > 0.9 and metrics["tries"] == 12
    assert any_strategy["gain_after"]["low"] < 0.1
    assert sum(t.case == red_team.NULL for t in transcripts) == 2 * 12 * len(EXAMPLES)


def test_chance_of_any_hit_by_hand() -> None:
    found = red_team.chance_of_any_hit(np.array([0, 1, 2, 4]), 4, 2)
    # 1 - C(n - hits, 2) / C(n, 2) for n = 4: 0, 1 - 3/6, 1 - 1/6, 1.
    assert found == pytest.approx([0.0, 0.5, 5 / 6, 1.0])


def test_search_reuses_frames_that_worked_on_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one frame of many works, later requests need fewer messages than random search."""
    works = SINGLE_FRAMES[4]
    script_replies(monkeypatch, lambda _, prompt: comply(prompt) if works[0] in prompt else REFUSALS[0])
    searches = red_team.search_attacks("model", EXAMPLES, 40, SAMPLING, 1)  # type: ignore[arg-type]
    assert all(one.score == 1.0 and works in one.best_frames for one in searches)
    assert sum(one.attempts for one in searches) / len(searches) < len(SINGLE_FRAMES) / 2


def test_search_stops_at_max_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    script_replies(monkeypatch, lambda _, prompt: REFUSALS[0])
    searches = red_team.search_attacks("model", EXAMPLES, 3, SAMPLING, 1)  # type: ignore[arg-type]
    assert {one.attempts for one in searches} == {3} and {one.score for one in searches} == {0.0}


def test_escalation_dialog_contains_the_models_own_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    script_replies(monkeypatch, lambda _, prompt: f"reply {prompt.count('user:')}")
    dialogs, replies = red_team.escalate("model", EXAMPLES[:1], SAMPLING)  # type: ignore[arg-type]
    assert [message.role for message in dialogs[0]] == ["user", "assistant"] * 2 + ["user"]
    assert dialogs[0][1].content == "reply 0" and dialogs[0][3].content == "reply 2"
    assert dialogs[0][-1].content == EXAMPLES[0].prompt and replies == ["reply 3"]
