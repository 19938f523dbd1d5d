"""Charts of post-training (4): accuracy by round and task, reward model, rejection sampling, distillation."""

from matplotlib.figure import Figure

from stages.report import charts
from stages.report.charts import (
    BLUE,
    FULL_WIDTH,
    GREEN,
    GREY,
    HALF_WIDTH,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    annotate,
    chart,
    make_figure,
)
from stages.report.evidence import Evidence, Interval, NotMeasured, to_percent

LIMITS = (0.0, 100.0)


def flagship_models(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """The flagship's models in the order of training: label -> (metrics file, model)."""
    models = {"base": ("evaluation", "flagship-base")}
    for number in evidence.rounds:
        models[f"SFT {number}"] = (f"round-{number}/evaluation", f"sft-{number}")
        models[f"DPO {number}"] = (f"round-{number}/evaluation", f"dpo-{number}")
    return models | {"safety": ("evaluation", "flagship-chat")}


def flagship_accuracy(evidence: Evidence, *keys: str) -> list[Interval | None]:
    """Accuracy of each of the flagship's models in percent, under `keys` of a model's metrics."""
    return [find_percent(evidence, name, model, *keys) for name, model in flagship_models(evidence).values()]


def find_percent(evidence: Evidence, name: str, *keys: str) -> Interval | None:
    value = evidence.find_metric(name, *keys)
    return None if value is None else to_percent(value)


def plot_line(
    axes: charts.Axes,
    values: list[Interval | None],
    colour: str,
    name: str,
    is_dashed: bool = False,
    shift: float = 0.0,
) -> None:
    """Points with intervals, joined by a line; `shift` separates lines that overlap."""
    places = [place + shift for place, value in enumerate(values) if value is not None]
    intervals = [value for value in values if value is not None]
    style = "--" if is_dashed else "-"
    axes.plot(places, [one["value"] for one in intervals], color=colour, linewidth=1.2, linestyle=style)
    for place, interval in zip(places, intervals, strict=True):
        value, error = charts.error_bar(interval, LIMITS)
        axes.errorbar(
            place,
            value,
            yerr=error,
            fmt="o",
            color=colour,
            markersize=4 if is_dashed else 5,
            elinewidth=1.2,
            markerfacecolor="white" if is_dashed else colour,
            label=name if place == places[0] else None,
            clip_on=False,
        )


@chart("rounds", "Accuracy on all tasks from base through rounds of post-training to the chat model")
def draw_rounds(evidence: Evidence) -> Figure:
    labels = list(flagship_models(evidence))
    values = flagship_accuracy(evidence, "all")
    if not any(values):
        raise NotMeasured("no model of the flagship was evaluated")
    figure, (axes,) = make_figure(HALF_WIDTH, 2.9)
    plot_line(axes, values, ORANGE, "flagship")
    for place, value in enumerate(values):
        if value:
            at = (place, min(100.0, value["high"]))
            annotate(axes, f"{value['value']:.1f}", at, (0, 4), ha="center", fontsize=8)
    axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 8 else 45)
    axes.set_xlim(-0.4, len(labels) - 0.6)
    axes.set_ylabel("accuracy, % of test prompts")
    top = max([value["high"] for value in values if value], default=0.0)
    axes.set_ylim(0, min(108.0, max(10.0, 1.25 * top)))
    return figure


@chart("tasks", "Accuracy by task and level through post-training, with intervals")
def draw_tasks(evidence: Evidence) -> Figure:
    labels = list(flagship_models(evidence))
    tasks = list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in evaluated_levels(evidence)))
    if not tasks:
        raise NotMeasured("no model of the flagship was evaluated")
    columns = 4
    rows = -(-len(tasks) // columns)
    height = 1.7 * rows + 0.6
    # matplotlib's automatic layout takes a second for this number of texts.
    figure, axes = make_figure(FULL_WIDTH, height, rows, columns, layout=None, sharex=True, sharey=True)
    figure.subplots_adjust(0.06, 0.48 / height, 0.995, 1 - 0.55 / height, wspace=0.07, hspace=0.24)
    for index, (task, plot) in enumerate(zip(tasks, axes, strict=False)):
        easy, hard = (flagship_accuracy(evidence, "levels", f"{task} {level}") for level in ("easy", "hard"))
        plot_line(plot, easy, BLUE, "easy", shift=-0.09)
        plot_line(plot, hard, PURPLE, "hard", is_dashed=True, shift=0.09)
        plot.set_title(task)
        plot.set_ylim(-2, 104)
        plot.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        if index % columns == 0:
            plot.set_ylabel("accuracy, %")
    for plot in axes[len(tasks) :]:
        plot.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.045, 1.0), ncols=2, handletextpad=0.3)
    return figure


def evaluated_levels(evidence: Evidence) -> list[str]:
    """Names such as "code hard", of the first model that was evaluated."""
    for name, model in flagship_models(evidence).values():
        levels = evidence.find_metric(name, model, "levels")
        if levels:
            return list(levels)
    return []


@chart("sampling", "Rejection sampling: accuracy of each way to select one of K answers, by round")
def draw_rejection_sampling(evidence: Evidence) -> Figure:
    """How often a random answer, the majority, the answer with the best reward, and any of K answers is correct."""
    kinds = {
        "one answer": ("one_answer", GREY),
        "majority": ("majority", ORANGE),
        "best reward": ("best_reward", BLUE),
        "any of K": ("verifier", GREEN),
    }
    rows = {f"round {number}": f"round-{number}/rejection" for number in evidence.rounds}
    rows["small, own samples"] = "small/own_samples"
    series = [
        (kind, colour, [find_selection(evidence, name, method) for name in rows.values()])
        for kind, (method, colour) in kinds.items()
    ]
    figure, (axes,) = make_figure(HALF_WIDTH, 0.9 + 0.6 * len(rows))
    charts.plot_intervals(axes, list(rows), series, unit="prompts answered correctly, %", limits=LIMITS)
    return figure


def find_selection(evidence: Evidence, name: str, method: str) -> Interval | None:
    """Percent of all tasks' prompts for which a method selects a right one of the most candidates."""
    selection = evidence.find_metric(name, "selection") or []
    found = [each for each in selection if each["method"] == method and each["task"] == "all"]
    return to_percent(max(found, key=lambda each: each["k"])["accuracy"]) if found else None


@chart("reward", "Reward model accuracy by round and task, with intervals")
def draw_reward_accuracy(evidence: Evidence) -> Figure:
    """Accuracy on held-out pairs: by round, and by task in the last round."""
    rows = {
        f"round {number}, all tasks": find_percent(evidence, f"round-{number}/reward", "accuracy")
        for number in evidence.rounds
    }
    by_task = evidence.find_metric(f"round-{evidence.last_round}/reward", "accuracy_by_task") or {}
    rows |= {task: to_percent(value) for task, value in sorted(by_task.items())}
    figure, (axes,) = make_figure(HALF_WIDTH, 0.8 + 0.24 * len(rows))
    series = [("reward model", BLUE, list(rows.values()))]
    charts.plot_intervals(axes, list(rows), series, unit="held-out pairs ranked correctly, %", limits=LIMITS)
    axes.axvline(50, color=MUTED, linewidth=1, linestyle="--")
    annotate(axes, "chance", (50, 1), (3, 2), xycoords=("data", "axes fraction"), color=MUTED)
    return figure


@chart("teaching", "Accuracy of the small member trained on its own and on the flagship's samples, by task")
def draw_distillation(evidence: Evidence) -> Figure:
    models = {
        "base": ("small-base", GREY),
        "own samples": ("small-own", BLUE),
        "flagship's samples": ("small-sft", ORANGE),
    }
    tasks = list(evidence.metric("evaluation", "small-base", "tasks"))
    series = []
    for name, (model, colour) in models.items():
        values = [find_percent(evidence, "evaluation", model, "all")]
        values += [find_percent(evidence, "evaluation", model, "tasks", task) for task in tasks]
        series.append((name, colour, values))
    figure, (axes,) = make_figure(HALF_WIDTH, 0.8 + 0.36 * (len(tasks) + 1))
    charts.plot_intervals(axes, ["all tasks", *tasks], series, unit="accuracy of small, %", limits=LIMITS)
    axes.axhline(0.5, color=INK, linewidth=0.5)
    return figure
