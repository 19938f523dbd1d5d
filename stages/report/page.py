"""The report stage: a self-contained HTML page about the whole run, and the claims ledger as JSON."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jinja2

from stages.interface import Context, Metrics, Paths
from stages.report import figures, samples
from stages.report.charts import CHARTS, format_compact
from stages.report.evidence import MEMBERS, Evidence, NotMeasured
from stages.report.ledger import build_ledger, summarise_family
from stages.report.verdict import VERDICTS
from stages.tokenizer.corpus import Mix

T = TypeVar("T")

NOT_REPRODUCED = (
    (
        "Scale",
        "The three models have up to millions of parameters and train on megabytes of text, not 8B to 405B "
        "parameters on 15T tokens. An effect that needs scale is reported as not shown, with its number.",
    ),
    ("Multimodality", "Image, video and speech (7, 8)."),
    ("Inference", "Pipeline parallelism and FP8 serving (6)."),
    (
        "Human work",
        "Programs replace annotators, red teams and study participants: verifiers, seeded attacks, proxy tasks.",
    ),
    (
        "Benchmarks",
        "MMLU, GSM8K, HumanEval and similar benchmarks are too hard for models of this size; generated tasks with "
        "program verifiers replace them.",
    ),
    (
        "Absolute safety numbers",
        "The paper uses internal benchmarks, so only the method and the direction of an effect are compared.",
    ),
)


@dataclass(frozen=True)
class Config:
    scale: Annotated[str, "scale"]
    last_round: Annotated[int, "posttraining.rounds"]
    mix: Annotated[Mix, "mix"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Inputs: metrics, curves (directories with the files of all stages), herd; optional: answers, answers-<round> (of
    the first and last round), safety-<member>, extracted, masked, deduplicated, filtered, classified, sorted, corpus,
    contamination, ablations. Outputs: page (HTML), claims (JSON)."""
    evidence = Evidence(inputs, config.last_round, config.mix.shares())
    claims = build_ledger(evidence)
    outputs["claims"].write_text(
        json.dumps(claims, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    context.progress("report", 1, 3)
    charts = {name: optional(draw, evidence) for name, draw in CHARTS.items()}
    context.progress("report", 2, 3)
    outputs["page"].write_text(render_page(evidence, config, claims, charts), encoding="utf-8")
    context.progress("report", 3, 3)
    columns = ("id", "verdict", "adjusted_verdict", "value", "low", "high", "unit")
    context.table("claims", [{key: claim[key] for key in columns} for claim in claims])
    counts = {f"{column}s": count_verdicts(claims, column) for column in ("verdict", "adjusted_verdict")}
    return {"claims": len(claims), **counts, "family": summarise_family(claims)}


def count_verdicts(claims: list[dict[str, Any]], column: str) -> dict[str, int]:
    """How many claims have each verdict in `column`."""
    counts = Counter(claim[column] for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def optional(make: Callable[[Evidence], T], evidence: Evidence) -> T | None:
    """The result of `make`, or None if the run lacks what it needs."""
    try:
        return make(evidence)
    except NotMeasured:
        return None


def render_page(evidence: Evidence, config: Config, claims: list[dict[str, Any]], charts: dict[str, str | None]) -> str:
    """The HTML of the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "short": format_compact,
        "number": format_number,
        "share": format_share,
        "interval": format_range,
        "effect": locate_effect,
        "digits": num_decimals,
        "decimals": lambda value: 0 if value == int(value) else 1,
        "pvalue": format_p,
    }
    environment.globals |= {"tone": verdict_tone, "counted": count_prompts}
    return (
        environment.get_template("page.html.j2").render(
            scale=config.scale,
            rounds=evidence.rounds,
            members=describe_members(evidence),
            claims=claims,
            counts=count_verdicts(claims, "verdict"),
            adjusted=count_verdicts(claims, "adjusted_verdict"),
            family=summarise_family(claims),
            judges=describe_judges(evidence),
            charts=charts,
            metric=evidence.find_metric,
            fit=evidence.herd["fit"],
            predicted_loss=evidence.herd["members"]["flagship"]["loss"],
            funnel=optional(figures.data.curation_funnel, evidence) or [],
            removed=samples.removed_pages(evidence),
            duplicates=samples.duplicate_pairs(evidence),
            answers=samples.task_answers(evidence),
            safety=samples.safety_answers(evidence),
            attacks=samples.successful_attacks(evidence),
            needles={member: tabulate_needles(evidence, member) for member in MEMBERS},
            plan=optional(figures.paper.plan_table, evidence) or [],
            not_reproduced=NOT_REPRODUCED,
        )
        + "\n"
    )


def describe_members(evidence: Evidence) -> list[dict[str, Any]]:
    """One record per member, the largest first."""
    members = []
    for name in reversed(MEMBERS):
        plan = evidence.herd["members"][name]
        shape = plan["config"]
        members.append(
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
                "loss": evidence.find_metric(f"{name}/annealing", "validation_loss"),
                "context": evidence.find_metric(f"{name}/long_context", "context_length"),
                "base": evidence.find_metric("evaluation", f"{name}-base", "all"),
                "chat": evidence.find_metric("evaluation", f"{name}-chat", "all"),
                "clean_base": evidence.clean_accuracy(f"{name}-base"),
                "clean_chat": evidence.clean_accuracy(f"{name}-chat"),
                "violations_before": evidence.find_metric(f"{name}/safety", "violations", "violation_rate", "before"),
                "violations": evidence.find_metric(f"{name}/safety", "violations", "violation_rate", "after"),
                "refusals": evidence.find_metric(f"{name}/safety", "violations", "false_refusal_rate", "after"),
            }
        )
    return members


def describe_judges(evidence: Evidence) -> list[dict[str, Any]]:
    """One record per judge of the safety suite: its error on labelled answers."""
    judges = evidence.find_metric("flagship/safety", "judges") or {}
    return [{"name": name, **error} for name, error in sorted(judges.items())]


def tabulate_needles(evidence: Evidence, member: str) -> dict[str, Any] | None:
    """Needle accuracy by length and depth, and the log of the gate."""
    metrics = evidence.find_metric(f"{member}/long_context")
    if not metrics:
        return None
    cells = {(cell["length"], cell["depth"]): cell["accuracy"] for cell in metrics["needles"]}
    lengths, depths = (sorted(set(values)) for values in zip(*cells, strict=True))
    return {
        "depths": depths,
        "gate": metrics["gate"],
        "n": metrics["needles"][0]["n"],
        "rows": [(length, [cells[length, depth] for depth in depths]) for length in lengths],
    }


def format_number(value: float | None, digits: int = 0) -> str:
    """With thousands separators and a minus sign; a dash for None."""
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def format_share(value: Any, digits: int = 1) -> str:
    """A share, or the value of an interval, in percent; a dash for None."""
    if value is None:
        return format_number(None)
    return format_number(100 * (value["value"] if isinstance(value, dict) else value), digits) + "%"


def format_range(interval: dict[str, float] | None, digits: int = 3, factor: float = 1.0) -> str:
    """The ends of an interval."""
    return (
        ""
        if interval is None
        else " to ".join(format_number(factor * interval[end], digits) for end in ("low", "high"))
    )


def count_prompts(rate: dict[str, Any] | None, cluster: str = "problems") -> str:
    """What a rate was counted on, for a caption."""
    if rate is None:
        return "not measured"
    clusters = f" of {format_number(rate['clusters'])} {cluster}" if "clusters" in rate else ""
    return f"n = {format_number(rate['n'])} prompts{clusters}"


def format_p(p: float) -> str:
    """A p-value with three decimals and its sign."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def locate_effect(claim: dict[str, Any]) -> dict[str, Any] | None:
    """Positions from 0 to 100 of a claim's bounds, interval and value, for the ledger's small chart."""
    if claim["value"] is None or not claim["expected"]:
        return None
    side, bound = claim["expected"]["side"], claim["expected"]["bound"]
    bounds = [bound, -bound] if side == "within" else [bound]
    centre = 0.0 if side == "within" else bound
    reach = 1.15 * max(abs(end - centre) for end in (claim["low"], claim["high"], claim["value"], *bounds)) or 1.0

    def locate(number: float) -> float:
        return round(50 + 50 * (number - centre) / reach, 2)

    marks = sorted(map(locate, bounds))
    zones = {"above": (marks[0], 100.0), "below": (0.0, marks[0]), "within": (marks[0], marks[-1])}
    start, end = zones[side]
    places = {name: locate(claim[name]) for name in ("low", "high", "value")}
    return places | {"marks": marks, "zone": start, "zone_width": round(end - start, 2)}


def num_decimals(claim: dict[str, Any]) -> int:
    """Decimals that suit a number's magnitude."""
    if claim["low"] == claim["high"] == int(claim["value"]):
        return 0
    largest = max(abs(claim[key]) for key in ("value", "low", "high"))
    return 1 if largest >= 10 else 2 if largest >= 1 else 3 if largest >= 0.1 else 4


def verdict_tone(verdict: str) -> str:
    """The CSS class of a verdict on an answer."""
    return "bad" if verdict in ("violation", "false refusal") else "good" if verdict in ("refusal", "answer") else "dim"
