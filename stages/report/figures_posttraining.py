"""Charts of post-training (4): accuracy by round and task, reward model, rejection sampling, teaching."""

from stages.report import charts
from stages.report.charts import BLUE, GREEN, GREY, HALF, INK, MUTED, ORANGE, PURPLE, canvas, style, svg
from stages.report.evidence import Evidence, Interval, Missing, percent

LIMITS = (0.0, 100.0)


def stations(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """The flagship's versions in order: label -> (metrics file, model)."""
    found = {"base": ("evaluation", "flagship-base")}
    for number in evidence.rounds:
        found[f"SFT {number}"] = (f"round-{number}/evaluation", f"sft-{number}")
        found[f"DPO {number}"] = (f"round-{number}/evaluation", f"dpo-{number}")
    return found | {"safety": ("evaluation", "flagship-chat")}


def accuracy(evidence: Evidence, *keys: str) -> list[Interval | None]:
    """Accuracy of each station in percent, by `keys` inside a model's metrics."""
    found = [evidence.find(name, model, *keys) for name, model in stations(evidence).values()]
    return [None if value is None else percent(value) for value in found]


def line(
    axes: charts.Axes, values: list[Interval | None], colour: str, name: str, dashed: bool = False, shift: float = 0.0
) -> None:
    """Points with intervals, joined; `shift` keeps two lines from hiding each other."""
    places = [place + shift for place, value in enumerate(values) if value is not None]
    found = [value for value in values if value is not None]
    axes.plot(
        places, [value["value"] for value in found], color=colour, linewidth=1.2, linestyle="--" if dashed else "-"
    )
    for place, interval in zip(places, found, strict=True):
        value, error = charts.bars(interval, LIMITS)
        axes.errorbar(
            place,
            value,
            yerr=error,
            fmt="o",
            color=colour,
            markersize=4 if dashed else 5,
            elinewidth=1.2,
            markerfacecolor="white" if dashed else colour,
            label=name if place == places[0] else None,
            clip_on=False,
        )


def rounds_chart(evidence: Evidence) -> str:
    """Accuracy over all tasks from the base model through the rounds to the safety-tuned one."""
    labels = list(stations(evidence))
    values = accuracy(evidence, "all")
    if not any(values):
        raise Missing("no version of the flagship was evaluated")
    with style():
        figure, (axes,) = canvas(HALF, 2.9)
        line(axes, values, ORANGE, "flagship")
        for place, value in enumerate(values):
            if value:
                axes.annotate(
                    f"{value['value']:.1f}",
                    (place, min(100.0, value["high"])),
                    xytext=(0, 4),
                    ha="center",
                    textcoords="offset points",
                    fontsize=8,
                )
        axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 8 else 45)
        axes.set_xlim(-0.4, len(labels) - 0.6)
        axes.set_ylabel("accuracy, % of test prompts")
        top = max([value["high"] for value in values if value], default=0.0)
        axes.set_ylim(0, min(108.0, max(10.0, 1.25 * top)))
        return svg(
            figure, "rounds", "Accuracy on all tasks from base through rounds of post-training to the chat model"
        )


def tasks_chart(evidence: Evidence) -> str:
    """Accuracy by task, easy and hard levels apart, through the same versions."""
    labels = list(stations(evidence))
    tasks = list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in _levels(evidence)))
    if not tasks:
        raise Missing("no version of the flagship was evaluated")
    columns = 4
    rows = -(-len(tasks) // columns)
    with style():
        height = 1.7 * rows + 0.6
        # So many texts cost the automatic layout a second.
        figure, axes = canvas(charts.WIDE, height, rows, columns, automatic=False, sharex=True, sharey=True)
        figure.subplots_adjust(0.06, 0.48 / height, 0.995, 1 - 0.55 / height, wspace=0.07, hspace=0.24)
        for place, (task, plot) in enumerate(zip(tasks, axes, strict=False)):
            line(plot, accuracy(evidence, "levels", f"{task} easy"), BLUE, "easy", shift=-0.09)
            line(plot, accuracy(evidence, "levels", f"{task} hard"), PURPLE, "hard", dashed=True, shift=0.09)
            plot.set_title(task)
            plot.set_ylim(-2, 104)
            plot.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
            if place % columns == 0:
                plot.set_ylabel("accuracy, %")
        for plot in axes[len(tasks) :]:
            plot.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.045, 1.0), ncols=2, handletextpad=0.3)
        return svg(figure, "tasks", "Accuracy by task and level through the versions of the flagship, with intervals")


def _levels(evidence: Evidence) -> list[str]:
    for name, model in stations(evidence).values():
        found = evidence.find(name, model, "levels")
        if found:
            return list(found)
    return []


def sampling_chart(evidence: Evidence) -> str:
    """Rejection sampling: how often one answer, the one with the best reward, and any of K is right."""
    kinds = {
        "one answer": "accuracy_of_one_answer",
        "best reward": "accuracy_of_best_reward",
        "any of K": "accuracy_of_any_answer",
    }
    colours = dict(zip(kinds, (GREY, BLUE, GREEN), strict=True))
    rows = [f"round {number}" for number in evidence.rounds] + ["small, own"]
    files = [f"round-{number}/rejection" for number in evidence.rounds] + ["small/own_samples"]
    series = []
    for kind, key in kinds.items():
        values = [evidence.find(name, key) for name in files]
        series.append((kind, colours[kind], [value and percent(value) for value in values]))
    with style():
        figure, (axes,) = canvas(HALF, 0.9 + 0.5 * len(rows))
        charts.intervals(axes, rows, series, unit="prompts answered right, %", limits=LIMITS)
        return svg(figure, "sampling", "Rejection sampling: accuracy of one, best-reward and any answer by round")


def reward_chart(evidence: Evidence) -> str:
    """Accuracy of the reward model on held-out pairs: by round, and by task in the last one."""
    rows, values = [], []
    for number in evidence.rounds:
        rows.append(f"round {number}, all")
        values.append(evidence.find(f"round-{number}/reward", "accuracy"))
    for task, value in sorted((evidence.find(f"round-{evidence.last_round}/reward", "accuracy_by_task") or {}).items()):
        rows.append(task)
        values.append(value)
    with style():
        figure, (axes,) = canvas(HALF, 0.8 + 0.24 * len(rows))
        shown = [value and percent(value) for value in values]
        charts.intervals(
            axes, rows, [("reward model", BLUE, shown)], unit="held-out pairs ranked right, %", limits=LIMITS
        )
        axes.axvline(50, color=MUTED, linewidth=1, linestyle="--")
        axes.annotate(
            "chance",
            (50, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=7.5,
            color=MUTED,
        )
        return svg(figure, "reward", "Reward model accuracy by round and task, with intervals")


def teaching_chart(evidence: Evidence) -> str:
    """The small member by task: base, after SFT on its own samples, after SFT on the flagship's."""
    models = {
        "base": ("small-base", GREY),
        "own samples": ("small-own", BLUE),
        "flagship's samples": ("small-sft", ORANGE),
    }
    tasks = list(evidence.metric("evaluation", "small-base", "tasks"))
    series = []
    for name, (model, colour) in models.items():
        values = [evidence.find("evaluation", model, "all")]
        values += [evidence.find("evaluation", model, "tasks", task) for task in tasks]
        series.append((name, colour, [value and percent(value) for value in values]))
    with style():
        figure, (axes,) = canvas(HALF, 0.8 + 0.36 * (len(tasks) + 1))
        charts.intervals(axes, ["all tasks", *tasks], series, unit="accuracy of small, %", limits=LIMITS)
        axes.axhline(0.5, color=INK, linewidth=0.5)
        return svg(figure, "teaching", "Accuracy of the small member on its own and on the flagship's data, by task")
