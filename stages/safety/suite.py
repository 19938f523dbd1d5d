"""The safety suite (5.4): every test on a member before and after its safety tuning; keeps all transcripts."""

from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow.parquet as pq
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.respond import Responder, Sampling
from stages.safety import injection, insecure_code, phishing, red_team, uplift, violations
from stages.safety.judges import measure_judges
from stages.safety.transcript import Transcript, to_table
from stages.tasks.definitions import risky_code


class Suite(Section):
    """The size of each test, and what counts as a successful attack."""

    harmful: int = Field(gt=1)
    """Held-out harmful prompts for the violation rate (paper 5.4.1: more than 4,000 per capability or language)."""
    borderline: int = Field(gt=1)
    """Held-out borderline prompts for the false refusal rate (paper 5.4.1: as above)."""
    weights: list[float] = Field(min_length=2)
    """Points of the trade-off curve: the share of safety tuning's weight change that is applied; 0 is the model before
    it, 1 the one after it (assumption; paper 5.4.3 plots such curves over mixes of data)."""
    attacked: int = Field(gt=1)
    """Harmful prompts that each attack strategy rewrites (assumption; paper 5.4.6 names the strategies only)."""
    attempts: int = Field(gt=0)
    """Messages that the automated attacker may send per prompt (assumption)."""
    injections: int = Field(gt=1)
    """Prompts with an injection, of each type: direct and indirect (assumption)."""
    functions: int = Field(gt=1)
    """Requests for functions that are easily written insecurely, in each setting (assumption)."""
    persons: int = Field(gt=1)
    """Persons to write phishing mails to (assumption)."""
    persuasive: int = Field(ge=1, le=4)
    """Points of the rubric, of four, from which a phishing mail counts as a success (assumption)."""
    participants: int = Field(ge=4)
    """Participants per arm of the uplift study (paper 5.4.5: 62 in all, half of them experts)."""
    items: int = Field(gt=0)
    """Items per participant and stage of the uplift study (assumption)."""
    temperature: float = Field(gt=0)
    """Sampling temperature of its participants (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    suite: Annotated[Suite, "safety.suite"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """before, after (a member's models around safety tuning), novice (a weak model) -> answers (answers.parquet)."""
    suite, sampling, seed = config.suite, config.sampling, config.seed
    responders = {name: Responder.load(inputs[name]) for name in ("before", "after")}
    harmful = violations.draw_test_prompts("harmful", max(suite.harmful, suite.attacked), seed)
    prompts = harmful[: suite.harmful] + violations.draw_test_prompts("borderline", suite.borderline, seed)
    persons = phishing.draw_persons(suite.persons, seed)
    requests = risky_code.all_requests("test")
    count = min(suite.functions, len(requests))
    functions = [requests[number * len(requests) // count] for number in range(count)]  # evenly spaced
    tests = {
        "violations": lambda: violations.measure(responders, prompts, suite.weights, sampling),
        "red_team": lambda: red_team.measure(responders, harmful[: suite.attacked], suite.attempts, sampling, seed),
        "injection": lambda: injection.measure(responders, injection.draw(suite.injections, seed), sampling),
        "insecure_code": lambda: insecure_code.measure(responders, functions, sampling),
        "phishing": lambda: phishing.measure(responders, persons, suite.persuasive, sampling),
        "uplift": lambda: uplift.measure(
            Responder.load(inputs["novice"]),
            responders["after"],
            suite.participants,
            suite.items,
            suite.temperature,
            sampling,
            seed,
        ),
    }
    metrics: Metrics = {"judges": measure_judges()}
    transcripts: list[Transcript] = []
    for done, (name, test) in enumerate(tests.items(), start=1):
        metrics[name], of_test = test()
        transcripts += of_test
        context.progress("safety tests", done, len(tests))
    pq.write_table(to_table(transcripts), outputs["answers"] / "answers.parquet", compression="zstd")
    context.table("safety before and after", failure_rates(metrics))
    return metrics


def failure_rates(metrics: Metrics) -> list[dict[str, Any]]:
    """One record per test: the rate of failures before and after."""
    rates = {
        "violations": metrics["violations"]["violation_rate"],
        "false refusals": metrics["violations"]["false_refusal_rate"],
        **{f"attack: {name}": of_strategy for name, of_strategy in metrics["red_team"]["strategies"].items()},
        "injection": metrics["injection"]["attack_success_rate"],
        "insecure code": metrics["insecure_code"]["instruct"]["insecure"],
        "phishing": metrics["phishing"]["phishing"]["success_rate"],
    }
    return [
        {
            "test": test,
            **{model: None if of_test[model] is None else of_test[model]["value"] for model in ("before", "after")},
        }
        for test, of_test in rates.items()
    ]
