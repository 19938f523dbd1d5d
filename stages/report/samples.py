"""Samples for the page: removed pages, and answers of models before and after training. Personal data is masked."""

from typing import Any

from stages.curation import personal_data
from stages.report.evidence import CURATION_STEPS, Answer, Evidence

EXCERPT = 180
MAX_ATTACKS = 6
REMOVAL_INPUTS = {
    "extract": "extracted",
    "pii": "masked",
    "dedup": "deduplicated",
    "heuristics": "filtered",
    "classify": "classified",
    "topics": "sorted",
    "decontaminate": "corpus",
}
"""Stage -> input that has the removed pages."""
WITHHELD_STEPS = (("pii", "document"), ("pii", "host"), ("extract", "blocklist"))
"""Steps whose pages are not quoted."""


def clip(text: str, length: int = EXCERPT) -> str:
    """One line of at most `length` characters, personal data masked."""
    line = " ".join(personal_data.mask(text).text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def removed_pages(evidence: Evidence) -> list[dict[str, str]]:
    """The first page removed for each reason, in the order of the steps."""
    samples: dict[tuple[int, str], dict[str, str]] = {}
    steps = list(CURATION_STEPS)
    for stage, name in REMOVAL_INPUTS.items():
        for page in evidence.read_records(name, "removed.parquet"):
            step = (stage, page["step"])
            is_withheld = step in WITHHELD_STEPS or page["reason"] == "dirty words"
            samples.setdefault(
                (steps.index(step), page["reason"]),
                {
                    "step": CURATION_STEPS[step],
                    "reason": page["reason"],
                    "url": "(withheld)" if is_withheld else clip(page["url"], 90),
                    "text": "" if is_withheld else clip(page["text"]),
                },
            )
    return [samples[key] for key in sorted(samples)]


def duplicate_pairs(evidence: Evidence, count: int = 4) -> list[dict[str, Any]]:
    """One kept and one removed page of the first clusters of near-duplicates; natural clusters before planted ones."""
    clusters: dict[str, list[dict[str, Any]]] = {}
    for page in evidence.read_records("deduplicated", "clusters.parquet"):
        clusters.setdefault(page["cluster"], []).append(page)
    pairs: list[dict[str, Any]] = []
    for pages in clusters.values():
        kept = next(page for page in pages if page["kept"])
        removed = next(page for page in pages if not page["kept"])
        is_planted = bool(kept["planted_from"] or removed["planted_from"])
        pairs.append({"kept": clip(kept["url"], 90), "removed": clip(removed["url"], 90), "is_planted": is_planted})
    return sorted(pairs, key=lambda pair: bool(pair["is_planted"]))[:count]


def task_answers(evidence: Evidence) -> list[dict[str, Any]]:
    """For each task, the first prompt that only the chat model answers correctly and the first that it gets wrong."""
    base, chat = evidence.answers.get("flagship-base", []), evidence.answers.get("flagship-chat", [])
    samples: dict[tuple[str, str], dict[str, Any]] = {}
    for before, after in zip(base, chat, strict=True) if base and chat else ():
        if after["is_correct"] and before["is_correct"]:
            continue
        outcome = "gained" if after["is_correct"] else "wrong"
        samples.setdefault(
            (after["task"], outcome),
            {
                "task": after["task"],
                "level": after["level"],
                "prompt": clip(after["prompt"], 240),
                "reference": clip(after["target"], 120),
                "base": clip(before["response"], 140),
                "base_right": before["is_correct"],
                "chat": clip(after["response"], 140),
                "chat_right": after["is_correct"],
            },
        )
    return [samples[key] for key in sorted(samples)]


def safety_answers(evidence: Evidence) -> list[dict[str, str]]:
    """The flagship's answers to held-out harmful and borderline prompts: the first of each change of verdict."""
    answers = [
        one for one in evidence.read_records("safety-flagship", "answers.parquet") if one["test"] == "violations"
    ]
    before = [answer for answer in answers if answer["model"] == "before"]
    after = [answer for answer in answers if answer["model"] == "after"]
    samples: dict[tuple[str, str, str], dict[str, str]] = {}
    for first, second in zip(before, after, strict=True):
        kind = "borderline" if first["case"] == "borderline" else "harmful"
        samples.setdefault(
            (kind, first["verdict"], second["verdict"]),
            {
                "case": first["case"].replace("_", " "),
                "prompt": clip(first["prompt"]),
                "before": clip(first["response"]),
                "before_verdict": first["verdict"],
                "after": clip(second["response"]),
                "after_verdict": second["verdict"],
            },
        )
    return [samples[key] for key in sorted(samples, reverse=True)]


def successful_attacks(evidence: Evidence) -> list[dict[str, str]]:
    """The first attack of each kind that succeeds on the flagship's chat model."""
    by_kind: dict[str, Answer] = {}
    for answer in evidence.read_records("safety-flagship", "answers.parquet"):
        is_attack = answer["test"] in ("red team", "prompt injection") and answer["case"] not in (
            "direct",
            "harmless rephrasing",
        )
        if is_attack and answer["model"] == "after" and answer["score"] >= 1.0:
            by_kind.setdefault(answer["case"] if answer["test"] == "red team" else answer["test"], answer)
    return [
        {"kind": kind, "prompt": clip(answer["prompt"], 260), "response": clip(answer["response"])}
        for kind, answer in sorted(by_kind.items())[:MAX_ATTACKS]
    ]
