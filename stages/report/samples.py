"""What a person reads to believe the numbers: pages that were removed, answers before and after."""

from typing import Any

import pyarrow.parquet as pq

from stages.curation import personal_data
from stages.report.evidence import STEPS, Answer, Evidence

EXCERPT = 180
ATTACKS_SHOWN = 6
REMOVING = {
    "extract": "extracted",
    "pii": "masked",
    "dedup": "deduplicated",
    "heuristics": "filtered",
    "classify": "classified",
    "topics": "sorted",
    "decontaminate": "corpus",
}
"""Stage -> input with what it removed."""
WITHHELD = (("pii", "document"), ("pii", "host"), ("extract", "blocklist"))
"""Steps whose pages are not quoted."""


def clip(text: str, length: int = EXCERPT) -> str:
    """One line of at most `length` characters, personal data masked."""
    line = " ".join(personal_data.mask(text).text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def removed(evidence: Evidence) -> list[dict[str, str]]:
    """The first page that went for each reason, step by step."""
    found: dict[tuple[int, str], dict[str, str]] = {}
    steps = list(STEPS)
    for stage, name in REMOVING.items():
        if name not in evidence.inputs:
            continue
        for row in pq.read_table(evidence.inputs[name] / "removed.parquet").to_pylist():
            withheld = (stage, row["step"]) in WITHHELD or row["reason"] == "dirty words"
            found.setdefault(
                (steps.index((stage, row["step"])), row["reason"]),
                {
                    "step": STEPS[stage, row["step"]],
                    "reason": row["reason"],
                    "url": "(withheld)" if withheld else clip(row["url"], 90),
                    "text": "" if withheld else clip(row["text"]),
                },
            )
    return [found[key] for key in sorted(found)]


def duplicates(evidence: Evidence, count: int = 4) -> list[dict[str, Any]]:
    """The first clusters of near-duplicates: the page that stays and one that went; real ones before planted ones."""
    if "deduplicated" not in evidence.inputs:
        return []
    clusters: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(evidence.inputs["deduplicated"] / "clusters.parquet").to_pylist():
        clusters.setdefault(row["cluster"], []).append(row)
    found: list[dict[str, Any]] = []
    for members in clusters.values():
        kept = next(row for row in members if row["kept"])
        gone = next(row for row in members if not row["kept"])
        planted = bool(kept["planted_from"] or gone["planted_from"])
        found.append(
            {"kept": clip(kept["url"], 90), "gone": clip(gone["url"], 90), "planted": planted, "size": len(members)}
        )
    return sorted(found, key=lambda pair: bool(pair["planted"]))[:count]


def answers(evidence: Evidence) -> list[dict[str, Any]]:
    """For each task, the first prompt that only the chat model gets right and the first that it gets wrong."""
    base, chat = evidence.answers.get("flagship-base", []), evidence.answers.get("flagship-chat", [])
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for before, after in zip(base, chat, strict=True) if base and chat else ():
        if after["right"] and before["right"]:
            continue
        outcome = "gained" if after["right"] else "wrong"
        found.setdefault(
            (after["task"], outcome),
            {
                "task": after["task"],
                "level": after["level"],
                "prompt": clip(after["prompt"], 240),
                "reference": clip(after["reference"], 120),
                "base": clip(before["response"], 140),
                "base_right": before["right"],
                "chat": clip(after["response"], 140),
                "chat_right": after["right"],
            },
        )
    return [found[key] for key in sorted(found)]


def safety(evidence: Evidence) -> list[dict[str, str]]:
    """The flagship's answers to held-out harmful and borderline prompts: the first of each change of verdict."""
    rows = [row for row in evidence.rows("safety-flagship") if row["test"] == "violations"]
    before = [row for row in rows if row["model"] == "before"]
    after = [row for row in rows if row["model"] == "after"]
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for first, second in zip(before, after, strict=True):
        kind = "borderline" if first["case"] == "borderline" else "harmful"
        found.setdefault(
            (kind, first["verdict"], second["verdict"]),
            {
                "kind": kind,
                "case": first["case"].replace("_", " "),
                "prompt": clip(first["prompt"]),
                "before": clip(first["response"]),
                "before_verdict": first["verdict"],
                "after": clip(second["response"]),
                "after_verdict": second["verdict"],
            },
        )
    return [found[key] for key in sorted(found, reverse=True)]


def attacks(evidence: Evidence) -> list[dict[str, str]]:
    """The first attack of each kind that works on the flagship's chat model."""
    rows = [row for row in evidence.rows("safety-flagship") if row["model"] == "after" and row["score"] >= 1.0]
    found: dict[str, Answer] = {}
    for row in rows:
        kind = row["case"] if row["test"] == "red team" else row["test"]
        if row["test"] in ("red team", "prompt injection") and row["case"] != "direct":
            found.setdefault(kind, row)
    return [_attack(kind, row) for kind, row in sorted(found.items())][:ATTACKS_SHOWN]


def _attack(kind: str, row: Answer) -> dict[str, str]:
    return {"kind": kind, "prompt": clip(row["prompt"], 260), "response": clip(row["response"])}


def verdict_tone(verdict: str) -> str:
    """good or bad, for its colour."""
    return "bad" if verdict in ("violation", "false refusal") else "good" if verdict in ("refusal", "answer") else "dim"
