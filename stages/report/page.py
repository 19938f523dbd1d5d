"""The last stage: one self-contained page about the whole run, and the ledger of claims as JSON."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jinja2

from stages.interface import Context, Metrics, Paths
from stages.report import (
    figures_data,
    figures_paper,
    figures_posttraining,
    figures_pretraining,
    figures_safety,
    figures_scaling,
    samples,
)
from stages.report.charts import short
from stages.report.claims import ledger
from stages.report.claims_pretraining import PAPER_MIX
from stages.report.evidence import MEMBERS, Evidence, Missing
from stages.report.verdict import VERDICTS
from stages.tokenizer.corpus import Mix

NOT_REPRODUCED = (
    (
        "Scale",
        "Three members of up to millions of parameters on megabytes of text, not 8B to 405B on 15T tokens. "
        "An effect that needs scale is reported as not shown, with its number.",
    ),
    ("Multimodality", "Image, video and speech (7, 8)."),
    ("Inference", "Pipeline parallelism and FP8 serving (6)."),
    (
        "Human work",
        "Annotated preferences, red teams and study participants are replaced by programs: verifiers, seeded "
        "attacks, proxy tasks.",
    ),
    (
        "Benchmarks",
        "MMLU, GSM8K, HumanEval and the like are far above models of this size; generated tasks that a program "
        "verifies stand in.",
    ),
    (
        "Absolute safety numbers",
        "The paper's rest on internal benchmarks; only the method and the direction are compared.",
    ),
)


@dataclass(frozen=True)
class Config:
    scale: Annotated[str, "scale"]
    last_round: Annotated[str, "last_round"]
    mix: Annotated[Mix, "mix"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """metrics, curves (directories of all stages' files), herd; and where they exist answers, answers-<round> (of the
    first and the last round), safety-<member>, extracted, masked, deduplicated,
    filtered, classified, sorted, corpus, contamination, ablations -> page (HTML), claims (JSON)."""
    evidence = Evidence(inputs, int(config.last_round))
    claims = ledger(evidence)
    outputs["claims"].write_text(
        json.dumps(claims, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    context.progress("report", 1, 3)
    charts = draw(evidence, config)
    context.progress("report", 2, 3)
    outputs["page"].write_text(render(evidence, config, claims, charts), encoding="utf-8")
    context.progress("report", 3, 3)
    counts = Counter(claim["verdict"] for claim in claims)
    context.table(
        "claims", [{key: claim[key] for key in ("id", "verdict", "ours", "low", "high", "unit")} for claim in claims]
    )
    return {"claims": len(claims), "verdicts": {verdict: counts[verdict] for verdict in VERDICTS}}


def draw(evidence: Evidence, config: Config) -> dict[str, str | None]:
    """Every chart as SVG by name; None where the run has not measured what it shows."""
    data, pretraining, scaling = figures_data, figures_pretraining, figures_scaling
    posttraining, safety = figures_posttraining, figures_safety
    drawings: dict[str, Callable[[], str]] = {
        "funnel": lambda: data.funnel_chart(data.funnel(evidence)),
        "mix": lambda: data.mix_chart(evidence, config.mix.shares()),
        "topics": lambda: data.topics_chart(evidence),
        "vocabulary": lambda: data.vocabulary_chart(evidence),
        "isoflops": lambda: scaling.isoflop_chart(evidence),
        "power_law": lambda: scaling.power_law_chart(evidence),
        "downstream": lambda: scaling.downstream_chart(evidence),
        "training": lambda: pretraining.training_chart(evidence),
        "annealing": lambda: pretraining.annealing_chart(evidence),
        "buckets": lambda: pretraining.bucket_chart(evidence),
        "rounds": lambda: posttraining.rounds_chart(evidence),
        "tasks": lambda: posttraining.tasks_chart(evidence),
        "reward": lambda: posttraining.reward_chart(evidence),
        "sampling": lambda: posttraining.sampling_chart(evidence),
        "teaching": lambda: posttraining.teaching_chart(evidence),
        "rates": lambda: safety.rates_chart(evidence),
        "trade_off": lambda: safety.trade_off_chart(evidence),
        "hazards": lambda: safety.hazard_chart(evidence),
        "red_team": lambda: safety.red_team_chart(evidence),
        "injection": lambda: safety.injection_chart(evidence),
        "cyber": lambda: safety.cyber_chart(evidence),
        "weaknesses": lambda: safety.weakness_chart(evidence),
        "uplift": lambda: safety.uplift_chart(evidence),
        "reliability": lambda: figures_paper.reliability_chart(evidence),
        "causes": lambda: figures_paper.causes_chart(evidence),
    }
    return {name: optional(drawing) for name, drawing in drawings.items()}


def optional(make: Callable[[], Any]) -> Any:
    """What `make` returns, or None where the run lacks what it needs."""
    try:
        return make()
    except Missing:
        return None


def render(evidence: Evidence, config: Config, claims: list[dict[str, Any]], charts: dict[str, str | None]) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "short": short,
        "number": number,
        "share": share,
        "interval": interval,
        "effect": effect,
        "digits": digits_of,
    }
    environment.globals |= {"tone": samples.verdict_tone}
    counts = Counter(claim["verdict"] for claim in claims)
    return (
        environment.get_template("page.html.j2").render(
            scale=config.scale,
            rounds=evidence.rounds,
            members=members(evidence),
            claims=claims,
            counts={verdict: counts[verdict] for verdict in VERDICTS},
            charts=charts,
            metric=evidence.find,
            fit=evidence.herd["fit"],
            predicted_loss=evidence.herd["members"]["flagship"]["loss"],
            funnel=optional(lambda: figures_data.funnel(evidence)) or [],
            removed=samples.removed(evidence),
            duplicates=samples.duplicates(evidence),
            answers=samples.answers(evidence),
            safety=samples.safety(evidence),
            attacks=samples.attacks(evidence),
            needles={member: needles(evidence, member) for member in MEMBERS},
            plan=optional(lambda: figures_paper.plan_table(evidence)) or [],
            paper_mix=PAPER_MIX,
            not_reproduced=NOT_REPRODUCED,
        )
        + "\n"
    )


def members(evidence: Evidence) -> list[dict[str, Any]]:
    """A row per member, the largest first."""
    found = []
    for name in reversed(MEMBERS):
        plan = evidence.herd["members"][name]
        shape = plan["config"]
        found.append(
            {
                "name": name,
                "parameters": plan["parameters"],
                "shape": f"{shape['num_hidden_layers']} \N{MULTIPLICATION SIGN} {shape['hidden_size']}",
                "heads": f"{shape['num_attention_heads']} / {shape['num_key_value_heads']}",
                "tokens": plan["tokens"],
                "flops": plan["flops"],
                "overtraining": plan["overtraining"],
                "optimal_tokens": plan["optimal_tokens"],
                "against_optimal_tokens": plan["against_optimal_tokens"],
                "optimal_size": plan["optimal_size"],
                "loss": evidence.find(f"{name}/annealing", "validation_loss"),
                "context": evidence.find(f"{name}/long_context", "context_length"),
                "base": evidence.find("evaluation", f"{name}-base", "all"),
                "chat": evidence.find("evaluation", f"{name}-chat", "all"),
                "violations": evidence.find(f"{name}/safety", "violations", "violation_rate", "after"),
                "refusals": evidence.find(f"{name}/safety", "violations", "false_refusal_rate", "after"),
            }
        )
    return found


def needles(evidence: Evidence, member: str) -> dict[str, Any] | None:
    """Needle accuracy by length and depth, and the gate's log."""
    metrics = evidence.find(f"{member}/long_context")
    if not metrics:
        return None
    depths = sorted({row["depth"] for row in metrics["needles"]})
    by_place = {(row["length"], row["depth"]): row["accuracy"] for row in metrics["needles"]}
    lengths = sorted({length for length, _ in by_place})
    return {
        "depths": depths,
        "gate": metrics["gate"],
        "n": metrics["needles"][0]["n"],
        "rows": [(length, [by_place[length, depth] for depth in depths]) for length in lengths],
    }


def number(value: float | None, digits: int = 0) -> str:
    """Thousands apart, a true minus sign; a dash for nothing."""
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def share(value: Any, digits: int = 1) -> str:
    """A share, or the value of an interval, in percent."""
    if value is None:
        return "\N{EN DASH}"
    return number(100 * (value["value"] if isinstance(value, dict) else value), digits) + "%"


def interval(value: dict[str, float] | None, digits: int = 3, factor: float = 1.0) -> str:
    """low to high."""
    return "" if value is None else " to ".join(number(factor * value[end], digits) for end in ("low", "high"))


def effect(claim: dict[str, Any]) -> dict[str, Any] | None:
    """Where a claim's bound, interval and value lie on a line from 0 to 100, for its little picture."""
    if claim["ours"] is None or not claim["expected"]:
        return None
    bound = claim["expected"]["bound"]
    marks = [bound, -bound] if claim["expected"]["side"] == "within" else [bound]
    ends = [claim["low"], claim["high"], claim["ours"], *marks]
    middle = 0.0 if len(marks) == 2 else bound
    reach = 1.15 * max(abs(end - middle) for end in ends) or 1.0
    place = {
        name: round(50 + 50 * (claim[key] - middle) / reach, 2)
        for name, key in (("low", "low"), ("high", "high"), ("value", "ours"))
    }
    at = sorted(round(50 + 50 * (mark - middle) / reach, 2) for mark in marks)
    zones = {"above": (at[0], 100.0), "below": (0.0, at[0]), "within": (at[0], at[-1])}
    start, end = zones[claim["expected"]["side"]]
    return place | {"marks": at, "zone": start, "zone_width": round(end - start, 2)}


def digits_of(claim: dict[str, Any]) -> int:
    """Decimals that show a number's size."""
    if claim["low"] == claim["high"] == int(claim["ours"]):
        return 0
    largest = max(abs(claim[key]) for key in ("ours", "low", "high"))
    return 1 if largest >= 10 else 2 if largest >= 1 else 3 if largest >= 0.1 else 4
