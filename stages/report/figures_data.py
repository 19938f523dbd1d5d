"""Charts of data curation (3.1) and the tokenizer (3.2)."""

from collections.abc import Mapping
from typing import Any

from stages.report import charts
from stages.report.charts import BLUE, GREY, HALF, INK, MUTED, ORANGE, canvas, style, svg
from stages.report.evidence import STEPS, Evidence, Missing
from stages.tokenizer.corpus import BUCKETS


def funnel(evidence: Evidence) -> list[dict[str, Any]]:
    """Documents and bytes left after each step, and what it removed for which reason. Pages have no text before they
    are extracted: no bytes."""
    documents, size = evidence.metric("extract", "documents_in"), None
    found: list[dict[str, Any]] = [
        {"step": "crawl", "documents": documents, "bytes": None, "removed": 0, "reasons": []}
    ]
    for (stage, step), title in STEPS.items():
        cuts = [row for row in evidence.metric(stage, "funnel") if row["step"] == step]
        if stage == "extract":
            cuts = [row | {"bytes": None} for row in cuts]
        gone = sum(row["documents"] for row in cuts)
        documents -= gone
        if step == "extraction":
            size = evidence.metric("extract", "bytes_out")
        elif size is not None:
            size -= sum(row["bytes"] for row in cuts)
        found.append({"step": title, "documents": documents, "bytes": size, "removed": gone, "reasons": cuts})
    return found


def funnel_chart(steps: list[dict[str, Any]]) -> str:
    """Bars of what is left, with what each step took."""
    with style():
        figure, (left, right) = canvas(charts.WIDE, 3.0, 1, 2, sharey=True)
        labels = [step["step"] for step in steps]
        for axes, key, unit in ((left, "documents", "documents left"), (right, "bytes", "text left, MB")):
            scale = 1e6 if key == "bytes" else 1
            values = [None if step[key] is None else step[key] / scale for step in steps]
            top = max(value for value in values if value is not None)
            before = None
            for row, value in enumerate(values):
                if value is None:
                    beside(axes, 0, row, "not text yet", MUTED)
                    continue
                lost = before - value if before is not None else 0
                axes.barh(row, value, color=BLUE, height=0.62)
                if lost > 0:
                    axes.barh(row, lost, left=value, color=ORANGE, height=0.62)
                taken = f"  (\N{MINUS SIGN}{lost:,.0f})" if key == "documents" else f"  (\N{MINUS SIGN}{lost:.2g})"
                text = f"{value:,.0f}" if key == "documents" else f"{value:.3g}"
                beside(axes, value + max(lost, 0), row, text + (taken if lost > 0 else ""))
                before = value
            axes.set_xlim(0, top * 1.35)
            axes.set_xlabel(unit)
            axes.grid(False, axis="y")
            charts.compact(axes, "x")
        left.set_yticks(range(len(labels)), labels)
        left.set_ylim(len(labels) - 0.5, -0.5)
        left.tick_params(axis="y", labelcolor=INK)
        return svg(figure, "funnel", "Documents and megabytes of text left after each step of curation")


def beside(axes: charts.Axes, x: float, y: float, text: str, colour: str = INK) -> None:
    """A label to the right of the end of a bar."""
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", color=colour, fontsize=7.5)


def mix_chart(evidence: Evidence, target: Mapping[str, float]) -> str:
    """Target and reached share of each bucket in the flagship's training tokens, and epochs over the bucket."""
    drawn = evidence.metric("flagship/initial", "tokens_by_bucket")
    epochs = evidence.metric("flagship/initial", "epochs_by_bucket")
    corpus = evidence.metric("encode", "tokens", "train")
    total, whole = sum(drawn.values()), sum(corpus.values())
    with style():
        figure, (axes,) = canvas(HALF, 2.7)
        shares = (
            ("corpus", GREY, [100 * corpus[bucket] / whole for bucket in BUCKETS]),
            ("drawn in training", BLUE, [100 * drawn[bucket] / total for bucket in BUCKETS]),
        )
        for place, (name, colour, values) in enumerate(shares):
            rows = [row + (place - 0.5) * 0.36 for row in range(len(BUCKETS))]
            axes.barh(rows, values, height=0.34, color=colour, label=name)
            for row, value, bucket in zip(rows, values, BUCKETS, strict=True):
                note = f" ({epochs[bucket]:.2g} epochs)" if name != "corpus" else ""
                beside(axes, max(value, 100 * target[bucket]), row, f"{value:.1f}%{note}")
        for row, bucket in enumerate(BUCKETS):
            label = "target" if row == 0 else None
            axes.plot([100 * target[bucket]] * 2, [row - 0.42, row + 0.42], color=ORANGE, linewidth=2.2, label=label)
        axes.set_yticks(range(len(BUCKETS)), BUCKETS)
        axes.set_ylim(len(BUCKETS) - 0.4, -0.5)
        axes.set_xlim(0, 1.45 * max(max(values) for _, _, values in shares))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False, axis="y")
        axes.set_xlabel("share of tokens, %")
        charts.legend(axes)
        return svg(figure, "mix", "Share of tokens by bucket: corpus, drawn in training, target")


def topics_chart(evidence: Evidence) -> str:
    """Megabytes of each topic of general pages before and after thinning."""
    sizes = evidence.metric("topics", "bytes")
    names = sorted(sizes, key=lambda topic: -sizes[topic]["before"])
    if not names:
        raise Missing("no topics")
    with style():
        figure, (axes,) = canvas(HALF, 2.7)
        for row, topic in enumerate(names):
            before, after = (sizes[topic][when] / 1e6 for when in ("before", "after"))
            axes.barh(row, after, color=BLUE, height=0.62)
            axes.barh(row, before - after, left=after, color=ORANGE, height=0.62)
            lost = f"  (\N{MINUS SIGN}{before - after:.2g})" if before > after else ""
            beside(axes, before, row, f"{after:.2g}{lost}")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1.3 * max(size["before"] for size in sizes.values()) / 1e6)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False, axis="y")
        axes.set_xlabel("MB of general text")
        return svg(figure, "topics", "Megabytes of general text by topic, before and after thinning")


def vocabulary_chart(evidence: Evidence) -> str:
    """Characters per token over vocabulary size, with intervals over held-out documents."""
    sizes = {int(size): value for size, value in evidence.metric("tokenizer", "characters_per_token").items()}
    chosen = evidence.metric("tokenizer", "vocab_size")
    with style():
        figure, (axes,) = canvas(HALF, 2.7)
        axes.plot(sorted(sizes), [sizes[size]["value"] for size in sorted(sizes)], color=BLUE, linewidth=1)
        for size in sorted(sizes):
            value, error = charts.bars(sizes[size])
            axes.errorbar(size, value, yerr=error, fmt="o", color=ORANGE if size == chosen else BLUE, markersize=5)
            name = f"{size:,}" + (" (used)" if size == chosen else "")
            axes.annotate(name, (size, value), xytext=(6, -9), textcoords="offset points", fontsize=7.5)
        axes.set_xscale("log")
        axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.7)
        axes.set_xticks([])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("vocabulary, tokens (log)")
        axes.set_ylabel("characters per token")
        return svg(figure, "vocabulary", "Characters per token over vocabulary size, with 95% intervals")
