"""Training curves: a panel for each experiment and method, a line for each trial.

    python -m scripts.report.figures.curves --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf curves.pdf --png curves.png --md curves.md
"""

from math import ceil, log
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.methods import METHODS
from scripts.report.figure_command import write_figure
from scripts.report.objectives import starts_at_ln_2
from scripts.report.results import MODEL, Results
from scripts.report.style import (
    DOTTED,
    ENTRIES,
    FAINT,
    Look,
    canvas,
    empty,
    legend_height,
    looks,
    panels_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PANEL = 2.2
"""Inches that a panel takes at least."""
HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.1, "markersize": 5.5, "zorder": 3}
"""Markers that can be seen where several lie on one another."""
SPLITS = {"loss": "training", "eval_loss": "validation"}
"""The splits by the column of history.jsonl that holds their loss."""


def frame(results: Results) -> "DataFrame":
    """Return the losses: a row for each run, split (training or validation) and step.

    A run without any has a row without a step. `at_ln_2` is True where the loss is ln 2 while the
    policy is still its reference.
    """
    from pandas import concat

    runs = results.each_seed.models
    runs = runs[runs["method"].isin(METHODS)]
    history = results.history
    losses = concat(
        history.reindex(columns=[*MODEL, "step", column])
        .rename(columns={column: "loss"})
        .assign(split=split)
        for column, split in SPLITS.items()
    )
    flat = _at_ln_2(results)
    at_ln_2 = [key in flat for key in runs[["experiment", "model"]].itertuples(index=False)]
    runs = runs.assign(at_ln_2=at_ln_2)
    found = runs.merge(losses.dropna(subset=["loss"]), how="left", on=MODEL)
    return found.astype({"step": float, "loss": float})


def _at_ln_2(results: Results) -> set[tuple[str, str]]:
    """Return experiment and model of the trials whose loss begins at ln 2."""
    settings = results.settings.to_dict("records")
    return {(row["experiment"], row["model"]) for row in settings if starts_at_ln_2(row)}


def draw(losses: "DataFrame") -> "Figure":
    """Return the figure."""
    if losses.empty:
        return empty("No trial is planned.")
    panels = panels_of(losses, "experiment", "method")
    heights = [max(PANEL, 0.6 + legend_height(panel["model"])) for panel in panels]
    figure = canvas(sum(heights))
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid.flat, panels, strict=True):
        _draw_panel(axes, panel)
    return figure


def _draw_panel(axes: "Axes", losses: "DataFrame") -> None:
    import seaborn

    styles = looks(losses["model"])
    training = losses[losses["split"] == "training"]
    if len(training):
        seaborn.lineplot(
            training, x="step", y="loss", hue="model", style="model", units="seed", estimator=None,
            palette={name: look.color for name, look in styles.items()}, legend=False, ax=axes,
            dashes={name: look.dashes for name, look in styles.items()},
        )  # fmt: skip
    alone = training[training.groupby(["model", "seed"])["step"].transform("size") == 1]
    axes.scatter(alone["step"], alone["loss"], s=6, c=[styles[it].color for it in alone["model"]])
    for model, points in losses[losses["split"] == "validation"].groupby("model", sort=False):
        look = styles[str(model)]
        axes.plot(points["step"], points["loss"], linestyle="", marker=look.marker,
                  color=look.color, **HOLLOW)  # fmt: skip
    if losses["at_ln_2"].any():
        _draw_unmoved(axes)
    method = METHODS[losses["method"].iloc[0]]
    axes.set_title(f"{losses['title'].iloc[0]}: {method.label}")
    axes.set(xlabel="Step", ylabel=method.loss)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.ticklabel_format(axis="y", useOffset=False)
    _draw_legend(axes, losses, styles)


def _draw_unmoved(axes: "Axes") -> None:
    axes.axhline(log(2), color=FAINT, linewidth=0.9, linestyle=DOTTED, zorder=1)
    axes.annotate("ln 2", (1, log(2)), xycoords=axes.get_yaxis_transform(), xytext=(2, 0),
                  textcoords="offset points", va="center", color=FAINT, fontsize=7)  # fmt: skip


def _draw_legend(axes: "Axes", losses: "DataFrame", styles: dict[str, Look]) -> None:
    """Add a legend right of the panel: a trial's line, with its marker where it was evaluated."""
    from matplotlib.lines import Line2D

    evaluated = set(losses.loc[losses["split"] == "validation", "model"])
    handles = [
        Line2D([], [], color=look.color, linestyle=(0, look.dashes) if look.dashes else "-",
               label=f"{name}{_undone(losses[losses['model'] == name])}",
               marker=look.marker if name in evaluated else "", **HOLLOW)
        for name, look in styles.items()
    ]  # fmt: skip
    title = "Line: training\nMarker: validation" if evaluated else "Line: training"
    axes.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.05, 1.0),
                borderaxespad=0, ncols=ceil(len(handles) / ENTRIES), handlelength=3.2,
                alignment="left", title_fontsize=7)  # fmt: skip


def _undone(losses: "DataFrame") -> str:
    """Return the states of a trial's runs that are not done, in brackets."""
    runs = losses.drop_duplicates("seed")
    words = [
        f"seed {seed} {state}" if len(runs) > 1 else state
        for seed, state in zip(runs["seed"], runs["state"], strict=True)
        if state != "done"
    ]
    return f" ({', '.join(words)})" if words else ""


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    return [
        "Lines: the loss of the batches that were trained on, as it was logged. Markers: the loss "
        "of the validation rows at that step. Held-out metrics are in the tables.",
        *(["ln 2: the loss of a policy that is still its reference."] if _at_ln_2(results) else []),
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
