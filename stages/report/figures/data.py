"""Charts of data curation (3.1) and the tokenizer (3.2)."""

from typing import Any

from matplotlib.figure import Figure

from stages.report import charts
from stages.report.charts import BLUE, FULL_WIDTH, GREY, HALF_WIDTH, INK, MUTED, ORANGE, annotate, chart, make_figure
from stages.report.evidence import CURATION_STEPS, Evidence, NotMeasured
from stages.tokenizer.corpus import BUCKETS


def curation_funnel(evidence: Evidence) -> list[dict[str, Any]]:
    """Documents and bytes left after each step, and what the step removed by reason. Bytes are None before text
    extraction."""
    documents, size = evidence.metric("extract", "documents_in"), None
    funnel: list[dict[str, Any]] = [
        {"step": "crawl", "documents": documents, "bytes": None, "removed": 0, "reasons": []}
    ]
    for (stage, step), title in CURATION_STEPS.items():
        reasons = [reason for reason in evidence.metric(stage, "funnel") if reason["step"] == step]
        if stage == "extract":
            reasons = [reason | {"bytes": None} for reason in reasons]
        removed = sum(reason["documents"] for reason in reasons)
        documents -= removed
        if step == "extraction":
            size = evidence.metric("extract", "bytes_out")
        elif size is not None:
            size -= sum(reason["bytes"] for reason in reasons)
        funnel.append({"step": title, "documents": documents, "bytes": size, "removed": removed, "reasons": reasons})
    return funnel


@chart("funnel", "Documents and megabytes of text left after each step of curation")
def draw_funnel(evidence: Evidence) -> Figure:
    steps = curation_funnel(evidence)
    figure, (left, right) = make_figure(FULL_WIDTH, 3.0, 1, 2, sharey=True)
    for axes, key, unit in ((left, "documents", "documents left"), (right, "bytes", "text left, MB")):
        scale = 1e6 if key == "bytes" else 1
        values = [None if step[key] is None else step[key] / scale for step in steps]
        previous = None
        for row, value in enumerate(values):
            if value is None:
                label_bar(axes, 0, row, "no text yet", MUTED)
                continue
            removed = previous - value if previous is not None else 0
            remaining, difference = ("{:,.0f}", "{:,.0f}") if key == "documents" else ("{:.3g}", "{:.2g}")
            plot_remaining(axes, row, value, removed, remaining.format(value), difference.format(removed))
            previous = value
        axes.set_xlim(0, 1.35 * max(value for value in values if value is not None))
        axes.set_xlabel(unit)
        axes.grid(False, axis="y")
        charts.use_compact_ticks(axes, "x")
    charts.set_rows(left, [step["step"] for step in steps])
    return figure


def plot_remaining(axes: charts.Axes, row: int, value: float, removed: float, text: str, removed_text: str) -> None:
    """A bar of what is left (blue) and of what was removed (orange), with both numbers."""
    axes.barh(row, value, color=BLUE, height=0.62)
    if removed > 0:
        axes.barh(row, removed, left=value, color=ORANGE, height=0.62)
        text += f"  (\N{MINUS SIGN}{removed_text})"
    label_bar(axes, value + max(removed, 0), row, text)


def label_bar(axes: charts.Axes, x: float, y: float, text: str, colour: str = INK) -> None:
    """A label to the right of the end of a bar."""
    annotate(axes, text, (x, y), (4, 0), va="center", color=colour)


@chart("mix", "Share of tokens by bucket: corpus, training, target")
def draw_mix(evidence: Evidence) -> Figure:
    """Share of each bucket in the corpus, in the flagship's training tokens and in the target mix."""
    trained = evidence.metric("flagship/initial", "tokens_by_bucket")
    epochs = evidence.metric("flagship/initial", "epochs_by_bucket")
    corpus = evidence.metric("encode", "tokens", "train")
    targets = [100 * evidence.target_mix[bucket] for bucket in BUCKETS]
    figure, (axes,) = make_figure(HALF_WIDTH, 2.7)
    largest = 0.0
    for index, (name, colour, tokens) in enumerate((("corpus", GREY, corpus), ("training", BLUE, trained))):
        values = [100 * tokens[bucket] / sum(tokens.values()) for bucket in BUCKETS]
        largest = max(largest, *values)
        rows = [row + (index - 0.5) * 0.36 for row in range(len(BUCKETS))]
        axes.barh(rows, values, height=0.34, color=colour, label=name)
        for row, value, target, bucket in zip(rows, values, targets, BUCKETS, strict=True):
            note = f" ({epochs[bucket]:.2g} epochs)" if name != "corpus" else ""
            label_bar(axes, max(value, target), row, f"{value:.1f}%{note}")
    for row, target in enumerate(targets):
        label = "target" if row == 0 else None
        axes.plot([target] * 2, [row - 0.42, row + 0.42], color=ORANGE, linewidth=2.2, label=label)
    charts.set_rows(axes, BUCKETS, margins=(0.6, 0.5))
    axes.set_xlim(0, 1.45 * largest)
    axes.set_xlabel("share of tokens, %")
    charts.add_legend(axes)
    return figure


@chart("topics", "Megabytes of general text by topic, before and after down-sampling")
def draw_topics(evidence: Evidence) -> Figure:
    sizes = evidence.metric("topics", "bytes")
    topics = sorted(sizes, key=lambda topic: -sizes[topic]["before"])
    if not topics:
        raise NotMeasured("no topics")
    figure, (axes,) = make_figure(HALF_WIDTH, 2.7)
    for row, topic in enumerate(topics):
        before, after = (sizes[topic][when] / 1e6 for when in ("before", "after"))
        plot_remaining(axes, row, after, before - after, f"{after:.2g}", f"{before - after:.2g}")
    charts.set_rows(axes, topics, margins=(0.6, 0.6))
    axes.set_xlim(0, 1.3 * max(size["before"] for size in sizes.values()) / 1e6)
    axes.set_xlabel("MB of general text")
    return figure


@chart("vocabulary", "Characters per token over vocabulary size, with 95% intervals")
def draw_vocabulary(evidence: Evidence) -> Figure:
    by_size = {int(size): value for size, value in evidence.metric("tokenizer", "characters_per_token").items()}
    used = evidence.metric("tokenizer", "vocab_size")
    figure, (axes,) = make_figure(HALF_WIDTH, 2.7)
    axes.plot(sorted(by_size), [by_size[size]["value"] for size in sorted(by_size)], color=BLUE, linewidth=1)
    for size in sorted(by_size):
        value, error = charts.error_bar(by_size[size])
        axes.errorbar(size, value, yerr=error, fmt="o", color=ORANGE if size == used else BLUE, markersize=5)
        annotate(axes, f"{size:,}" + (" (used)" if size == used else ""), (size, value), (6, -9))
    axes.set_xscale("log")
    axes.set_xlim(min(by_size) / 1.3, max(by_size) * 1.7)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("vocabulary, tokens (log)")
    axes.set_ylabel("characters per token")
    return figure
