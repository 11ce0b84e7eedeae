"""The figure of the training curves: a panel for each experiment and method, a line for each trial.

    python -m scripts.report.curves --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf curves.pdf --png curves.png --md curves.md
"""

from math import ceil, log
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.methods import METHODS as TRAINED_METHODS
from scripts.report.figure_command import write_figure
from scripts.report.objectives import starts_at_ln_2
from scripts.report.read import METHODS, Subject, by_experiment
from scripts.report.style import DOTTED, ENTRIES, ENTRY, FAINT, Look, canvas, empty, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANEL = 2.2
"""Inches that a panel takes at least."""

HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.1, "markersize": 5.5, "zorder": 3}
"""Markers that can be seen where several lie on one another."""


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    panels = [
        trials
        for members in by_experiment(subjects).values()
        for method in TRAINED_METHODS
        if (trials := [subject for subject in members if subject.method == method])
    ]
    if not panels:
        return empty("No trial is planned.")
    heights = [_height(trials) for trials in panels]
    figure = canvas(sum(heights))
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
    for axes, trials in zip(grid.flat, panels, strict=True):
        _draw_panel(axes, trials)
    return figure


def _height(trials: list[Subject]) -> float:
    entries = min(ENTRIES, len(_names(trials))) + 2
    return max(PANEL, 0.6 + ENTRY * entries)


def _names(trials: list[Subject]) -> list[str]:
    return list(dict.fromkeys(trial.name for trial in trials))


def _draw_panel(axes: "Axes", trials: list[Subject]) -> None:
    styles = looks(_names(trials))
    for seed in (seed for trial in trials for seed in trial.each_seed()):
        _draw_training(axes, seed, styles[seed.name])
        _draw_evaluations(axes, seed, styles[seed.name])
    if any(map(starts_at_ln_2, trials)):
        _draw_unmoved(axes)
    first = trials[0]
    axes.set_title(f"{first.title}: {METHODS[first.method]}")
    axes.set_xlabel("Step")
    axes.set_ylabel(TRAINED_METHODS[first.method].loss)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _draw_legend(axes, trials, styles)


def _draw_training(axes: "Axes", trial: Subject, look: Look) -> None:
    points = trial.history("loss")
    alone = "." if len(points) == 1 else ""
    axes.plot(*_coordinates(points), color=look.color, linestyle=look.dashes, marker=alone)


def _draw_evaluations(axes: "Axes", trial: Subject, look: Look) -> None:
    axes.plot(*_coordinates(trial.history("eval_loss")), linestyle="", marker=look.marker,
              color=look.color, **HOLLOW)  # fmt: skip


def _coordinates(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def _draw_unmoved(axes: "Axes") -> None:
    axes.axhline(log(2), color=FAINT, linewidth=0.9, linestyle=DOTTED, zorder=1)
    axes.annotate("ln 2", (1, log(2)), xycoords=axes.get_yaxis_transform(), xytext=(2, 0),
                  textcoords="offset points", va="center", color=FAINT, fontsize=7)  # fmt: skip


def _draw_legend(axes: "Axes", trials: list[Subject], styles: dict[str, Look]) -> None:
    """Adds a legend right of the panel: a trial's line, with its marker where it was evaluated."""
    from matplotlib.lines import Line2D

    evaluated = {trial.name for trial in trials if trial.history("eval_loss")}
    states = {name: _undone(trials, name) for name in styles}
    handles = [
        Line2D(
            [],
            [],
            color=look.color,
            linestyle=look.dashes,
            label=f"{name} ({states[name]})" if states[name] else name,
            marker=look.marker if name in evaluated else "",
            **HOLLOW,
        )
        for name, look in styles.items()
    ]
    title = "Line: training\nMarker: validation" if evaluated else "Line: training"
    axes.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.05, 1.0),
                borderaxespad=0, ncols=ceil(len(handles) / ENTRIES), handlelength=3.2,
                alignment="left", title_fontsize=7)  # fmt: skip


def _undone(trials: list[Subject], name: str) -> str:
    """Returns the states of a trial's seeds that are not done."""
    runs = [run for trial in trials if trial.name == name for run in trial.each_seed()]
    several = len(runs) > 1
    return ", ".join(
        f"seed {run.seed} {run.state.word}" if several else run.state.word
        for run in runs
        if not run.done
    )


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    return [
        "Lines: the loss of the batches that were trained on, as it was logged. Markers: the loss "
        "of the validation rows at that step. Held-out figures stand in the tables.",
        *(["ln 2: the loss of a policy that is still its reference."]
          if any(map(starts_at_ln_2, subjects)) else []),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes)


if __name__ == "__main__":
    run(main)
