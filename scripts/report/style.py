"""One look for all figures: theme, sizes, colours that differ in grey too, intervals, legends."""

from collections.abc import Iterable
from io import BytesIO
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.common.files import written_whole
from scripts.common.methods import LABELS, LOOKS
from scripts.common.metrics import metric
from scripts.report.text import DASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from pandas import DataFrame

WIDTH = 7.0
"""Inches: the text of a paper in one column."""
ROW = 0.21
"""Inches that one model takes in a figure of rows."""
ENTRY, ENTRIES = 0.165, 20
"""Inches that an entry of a legend takes, and how many stand in one column."""
BESIDE = 7
"""Entries of a legend above a figure that its width has room for."""
MARK = 0.17
"""Inches that a line of a mark takes."""
ACROSS, MANY = 3, 9
"""Panels side by side where each run has one; with more than MANY runs there is one more."""
SMALL, LINE = 5.8, 8.0
"""Points of the letters above a panel, and that a line of them takes."""
THIN, THICK, PALE = 0.9, 3.6, 0.4
"""Lines and the opacity of two intervals on one row: the thin one stays visible on the thick."""

INK, FAINT, RED = "#333333", "#888888", "#a4262c"
GREY, BLUE = "#4d4d4d", "#0173b2"
DOTTED = (0, (1, 2))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = (
    "",
    (4, 1.5),
    (1, 1),
    (3, 1.2, 1, 1.2),
    (6, 1, 1, 1, 1, 1),
    (8, 2),
    (2, 1, 4, 1),
)
"""Segments and gaps in line widths, as seaborn takes them; "" is a solid line."""
DISTINCT = 70
"""How many names can each have a look of their own."""


class Look(NamedTuple):
    """How one trial is drawn."""

    color: str
    marker: str
    dashes: Any = ""


# -------------------------------------------------------------------------------------- canvas


def use_style() -> None:
    """Set the backend and the theme of every figure that is made after."""
    import matplotlib

    matplotlib.use("Agg")
    import seaborn

    seaborn.set_theme(
        context="paper",
        style="ticks",
        palette="colorblind",
        font="DejaVu Sans",
        rc={
            "font.size": 8,
            "axes.labelsize": 8,
            "axes.titlesize": 8.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.edgecolor": INK,
            "axes.linewidth": 0.7,
            "axes.grid": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#e3e3e3",
            "grid.linewidth": 0.6,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "xtick.major.width": 0.7,
            "ytick.major.width": 0.7,
            "xtick.major.size": 3,
            "ytick.major.size": 3,
            "legend.fontsize": 7.5,
            "legend.frameon": False,
            "lines.linewidth": 1.3,
            "lines.markersize": 4.5,
            "pdf.fonttype": 42,
            "savefig.dpi": 200,
            # A dollar sign in a title or a mark is one, and begins no formula.
            "text.parse_math": False,
        },
    )


def canvas(height: float) -> "Figure":
    """Return an empty figure as wide as the text of a paper, `height` inches high."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
    return made


def empty(message: str) -> "Figure":
    """Return a figure that says why there is nothing in it."""
    blank = canvas(1.0)
    blank.text(0.5, 0.5, message, ha="center", va="center", color=FAINT)
    return blank


def mark(figure: "Figure", text: str) -> None:
    """Write on top, above the legend, what must be known before the figure is read."""
    lines = wrap(text, 80)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + MARK * (len(lines) + 0.5))
    # As a suptitle it would lie over a legend that stands there.
    if figure.legends:
        figure.legends[0].set_title("\n".join(lines))
        written = figure.legends[0].get_title()
    else:
        written = figure.suptitle("\n".join(lines))
    written.set(color=RED, weight="bold", size=9)


def save(figure: "Figure", pdf: Path, png: Path, title: str) -> None:
    """Write a figure as PDF and PNG, both or neither, with its title and without the date."""
    vector, pixels = BytesIO(), BytesIO()
    figure.savefig(vector, format="pdf", metadata={"CreationDate": None, "Title": title})
    figure.savefig(pixels, format="png", metadata={"Software": None, "Title": title})
    # Where the disk is full, matplotlib has other errors than that.
    with written_whole(pdf) as first, written_whole(png) as second:
        first.write_bytes(vector.getvalue())
        second.write_bytes(pixels.getvalue())


def axis_label(name: str, set_name: str | None = None) -> str:
    """Return a metric's label, and below it the set of prompts, if named, and the unit."""
    found = metric(name)
    parts = [found.label, *wrap(set_name or "", 14), f"({found.unit})" if found.unit else ""]
    return "\n".join(filter(None, parts))


def panels_of(frame: "DataFrame", *keys: str) -> "list[DataFrame]":
    """Return the rows of each distinct value of the columns, in the order of the frame."""
    return [part for _, part in frame.groupby(list(keys), sort=False, dropna=False)]


def in_rows(panels: "list[DataFrame]", across: int) -> "list[list[DataFrame]]":
    """Return panels in rows of about equal length, of `across` at most."""
    width = ceil(len(panels) / ceil(len(panels) / across))
    return [panels[start : start + width] for start in range(0, len(panels), width)]


def say_absent(axes: "Axes", why: str, run: "DataFrame") -> None:
    """Write a run's state in its empty panel; if it is done, why nothing is drawn."""
    state = run["state"].iloc[0]
    why = why if state == "done" else state
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "\n".join(wrap(why, 26)), transform=axes.transAxes, ha="center",
              va="center", color=FAINT, fontsize=7)  # fmt: skip


# ---------------------------------------------------------------------------- a row for each model


def draw_rows(axes: "Axes", models: "DataFrame") -> None:
    """Draw a metric of each model on a row of its own, the first on top, with both intervals.

    A model without a value has a dash on its row, and one that is not done its state.

    Parameters
    ----------
    models
        A row for each: method, state, value, and the bounds of both intervals.
    """
    placed = models.assign(row=range(len(models)))
    for method, part in placed.dropna(subset="value").groupby("method", sort=False):
        color, marker = LOOKS[str(method)]
        axes.hlines(part.row, part.group_bootstrap_low, part.group_bootstrap_high, color=color,
                    linewidth=THICK, alpha=PALE, zorder=2)  # fmt: skip
        axes.errorbar(part.value, part.row, xerr=errors(part, "wilson"), fmt=marker, color=color,
                      elinewidth=THIN, capsize=2.2, capthick=THIN, zorder=3)  # fmt: skip
    for row in placed[placed.value.isna()].itertuples():
        axes.text(0.5, row.row, DASH if row.state == "done" else row.state, color=INK, ha="center",
                  va="center", transform=axes.get_yaxis_transform(),
                  bbox={"facecolor": "white", "linewidth": 0})  # fmt: skip
    axes.set_yticks(range(len(models)), models.label)
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def errors(rows: "DataFrame", interval: str) -> list[Any]:
    """Return how far an interval's bounds lie below and above the values, 0 at least.

    A bound may lie beyond its value by a rounding error.
    """
    low, high = rows[f"{interval}_low"], rows[f"{interval}_high"]
    return [(rows.value - low).clip(lower=0), (high - rows.value).clip(lower=0)]


def guide(axes: "Axes", value: float, label: str) -> "Line2D":
    """Draw a vertical line behind the rows and return it, for the legend."""
    return axes.axvline(value, color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1, label=label)


def row_legend(figure: "Figure", methods: Iterable[str], *guides: "Line2D") -> None:
    """Add a legend above a figure of rows: methods, intervals, and lines that `guide` drew."""
    from matplotlib.legend_handler import HandlerLine2D
    from matplotlib.lines import Line2D

    present = set(methods)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=LABELS[method])
        for method, (color, marker) in LOOKS.items()
        if method in present
    ]
    thin = Line2D([], [], color=GREY, linewidth=THIN, marker="|", label="Wilson interval")
    thick = Line2D([], [], color=GREY, linewidth=THICK, alpha=PALE, solid_capstyle="butt",
                   label="interval by group")  # fmt: skip
    handles += [thin, thick, *guides]
    lines = ceil(len(handles) / BESIDE)
    figure.legend(handles=handles, loc="outside upper left", ncols=ceil(len(handles) / lines),
                  handler_map={thin: HandlerLine2D(numpoints=2)})  # fmt: skip


# ---------------------------------------------------------------------------- a look for each trial


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each name; neighbours differ in grey too.

    More than DISTINCT names could not be told apart, so that all share one.
    """
    import seaborn

    colors = seaborn.color_palette("colorblind").as_hex()
    distinct = list(dict.fromkeys(names))
    if len(distinct) > DISTINCT:
        return dict.fromkeys(distinct, Look(colors[0], MARKERS[0]))
    return {
        name: Look(*(every[place % len(every)] for every in (colors, MARKERS, DASHES)))
        for place, name in enumerate(distinct)
    }


def legend_height(names: Iterable[str]) -> float:
    """Return the inches that a legend of these trials takes."""
    return ENTRY * (min(ENTRIES, len(set(names))) + 2)


def plot_trials(axes: "Axes", trials: "DataFrame", x: str, styles: dict[str, Look]) -> None:
    """Draw each trial's value above its x, with its interval.

    Parameters
    ----------
    trials
        A row for each: model, value, low, high, `x`, and, where trials at one x stand side by side,
        `aside`, the points (1/72 inch) to draw it right of x.
    """
    from matplotlib.transforms import ScaledTranslation

    for trial in trials.itertuples():
        look, at = styles[trial.model], getattr(trial, x)
        lines = axes.plot([at], [trial.value], color=look.color, marker=look.marker, linestyle="",
                          markeredgecolor="white", markeredgewidth=0.25, zorder=3)  # fmt: skip
        lines += axes.plot([at, at], [trial.low, trial.high], color=look.color, linewidth=THIN,
                           marker="_", markersize=3.5, zorder=2)  # fmt: skip
        # Moved once they are plotted: the axes know the extent of what lies at its place in data.
        for line in lines:
            moved = ScaledTranslation(getattr(trial, "aside", 0) / 72, 0,
                                      axes.figure.dpi_scale_trans)  # fmt: skip
            line.set_transform(axes.transData + moved)


def name_legend(axes: "Axes", styles: dict[str, Look], *more: "Line2D") -> None:
    """Add a legend of markers right of the panel, and of lines that are drawn with them.

    Of trials that share one look it says how many they are.
    """
    from matplotlib.lines import Line2D

    entries = styles
    if len(styles) > DISTINCT:
        entries = {f"one of {len(styles):,} trials": next(iter(styles.values()))}
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=name)
        for name, look in entries.items()
    ]
    axes.legend(handles=[*handles, *more], loc="upper left", bbox_to_anchor=(1.03, 1.0),
                borderaxespad=0, ncols=ceil(len(handles) / ENTRIES), handletextpad=0.3)  # fmt: skip


# ----------------------------------------------------------------------------- a panel for each run


def tiles(
    runs: "DataFrame", height: float, x_label: str, y_label: str, lines: int
) -> "tuple[Figure, list[Axes]]":
    """Return a figure with a panel for each run, and the panels in the order of the runs.

    An experiment begins a row of its own under its title; labels stand where no panel hides them.

    Parameters
    ----------
    runs
        A row for each: experiment, title, name.
    height
        Inches that a row of three takes without what is written above its panels.
    lines
        How many lines `write_above` writes on a panel, below the run's name.
    """
    experiments = panels_of(runs, "experiment")
    across = ACROSS + (max(map(len, experiments)) > MANY)
    rows = [ceil(len(members) / across) for members in experiments]
    above = LINE * (lines + 1)
    row = height * ACROSS / across + above / 72
    figure = canvas(0.4 + row * sum(rows) + 0.2 * len(rows))
    free = iter(figure.subplots(sum(rows), across, squeeze=False))
    panels: list[Axes] = []
    for number, members in zip(rows, experiments, strict=True):
        drawn = [axes for _ in range(number) for axes in next(free)]
        for place, (axes, name) in enumerate(zip(drawn, members.name, strict=False)):
            # Blank lines keep the place of what may be written on the panel.
            axes.set_title(name + "\n" * lines, fontsize=SMALL, weight="normal")
            axes.set_xlabel(x_label if place + across >= len(members) else "", fontsize=7)
            axes.set_ylabel(y_label if place % across == 0 else "", fontsize=7)
        _write_heading(drawn[0], members.title.iloc[0], above)
        for axes in drawn[len(members) :]:
            axes.set_visible(False)
        panels += drawn[: len(members)]
    return figure, panels


def _write_heading(axes: "Axes", text: str, above: float) -> None:
    """Write a heading over a panel, so many points above it, as wide as it is.

    Lines that are left blank in the panel's title keep its place: as a part of the layout it would
    make the panel's whole column as wide as itself.
    """
    axes.set_title(f"\n\n{axes.get_title(loc='left')}", fontsize=SMALL, weight="normal")
    heading = axes.annotate(text, (0, 1), (0, above + 4), "axes fraction", "offset points",
                            fontsize=8.5, weight="bold", annotation_clip=False)  # fmt: skip
    heading.set_in_layout(False)


def write_above(axes: "Axes", *lines: str) -> None:
    """Write lines below the name on top of a panel."""
    written = "\n".join([axes.get_title(loc="left").rstrip("\n"), *lines])
    axes.set_title(written, fontsize=SMALL, weight="normal")
