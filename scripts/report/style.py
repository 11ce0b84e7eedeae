"""One look for all figures: sizes, fonts, colours that differ in grey too, and how to save them."""

from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from scripts.common.files import written_whole
from scripts.common.methods import LOOKS as LOOKS_OF_METHODS
from scripts.report.read import BY_GROUP, LABELS, METHODS, WILSON, Figure, Subject
from scripts.report.render import DASH, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

WIDTH = 7.0
"""Inches: the text of a paper in one column."""
ROW = 0.21
"""Inches that one model takes in a figure of rows."""

ENTRY, ENTRIES = 0.165, 20
"""Inches that an entry of a legend takes, and how many stand in one column."""

INK, FAINT = "#333333", "#888888"
GREY, BLUE = "#4d4d4d", "#0173b2"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (3, 1.2, 1, 1.2)),
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (2, 1, 4, 1)),
)
LOOKS = 70
"""So many names have a look of their own."""
DOTTED = (0, (1, 2))
RED, MARK = "#a4262c", 0.17
"""A mark's colour, and the inches that a line of it takes."""
ACROSS, MANY = 3, 9
"""So many panels stand beside each other where each trial has one; one more of more than many."""
SMALL, LINE = 5.8, 8.0
"""Points of the letters above a panel, and that a line of them takes."""
THIN, THICK, PALE = 0.9, 3.6, 0.4
"""Lines and the opacity of two intervals on one row: the thin one stays visible on the thick."""


class Look(NamedTuple):
    """How one model is drawn."""

    color: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]] = "-"


METHOD_LOOKS = {name: Look(*look) for name, look in LOOKS_OF_METHODS.items()}


def use_style() -> None:
    """Sets the backend and the style for every figure that is made after."""
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
        },
    )


def looks(names: list[str]) -> dict[str, Look]:
    """Returns a look for each name, of which neighbours differ in grey; of more than seventy, which
    could not be told apart, all have one.
    """
    import seaborn

    colors = seaborn.color_palette("colorblind").as_hex()
    distinct = dict.fromkeys(names)
    if len(distinct) > LOOKS:
        return dict.fromkeys(distinct, Look(colors[0], MARKERS[0]))
    return {
        name: Look(
            colors[place % len(colors)],
            MARKERS[place % len(MARKERS)],
            DASHES[place % len(DASHES)],
        )
        for place, name in enumerate(distinct)
    }


def canvas(height: float) -> "Canvas":
    """Returns an empty figure as wide as the text."""
    from matplotlib.figure import Figure as Canvas

    made = Canvas(figsize=(WIDTH, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
    return made


def empty(message: str) -> "Canvas":
    """Returns a figure that says why there is nothing in it."""
    blank = canvas(1.0)
    blank.text(0.5, 0.5, message, ha="center", va="center", color=FAINT)
    return blank


def axis_label(key: str, figures: list[Figure], set_name: str | None = None) -> str:
    """Returns a figure's label, and below it the set of prompts, if named, and the unit."""
    unit = next((found.unit for found in figures if found.unit), "")
    lines = [LABELS[key], *wrap(set_name or "", 14), f"({unit})" if unit else ""]
    return "\n".join(filter(None, lines))


def names_of(subjects: list[Subject]) -> list[str]:
    """Returns what to call each subject; with its seed where a name has several."""
    names = [subject.label for subject in subjects]
    return [
        f"{name}, seed {subject.seed}" if names.count(name) > 1 else name
        for name, subject in zip(names, subjects, strict=True)
    ]


def draw_rows(axes: "Axes", subjects: list[Subject], figures: list[Figure]) -> None:
    """Draws a figure of each subject on its own row, first on top, thick and thin intervals.

    A subject without the figure has a dash on its row, and one that is not done its state.
    """
    for row, (subject, found) in enumerate(zip(subjects, figures, strict=True)):
        if found.value is None:
            _draw_absence(axes, row, DASH if subject.done else subject.state.word)
        else:
            _draw_figure(axes, row, found, METHOD_LOOKS[subject.method])
    axes.set_yticks(range(len(subjects)))
    axes.set_ylim(len(subjects) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def guide(axes: "Axes", value: float, label: str) -> "Line2D":
    """Draws a vertical line behind the rows and returns it, for the legend."""
    return axes.axvline(value, color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1, label=label)


def row_legend(figure: "Canvas", subjects: list[Subject], *guides: "Line2D") -> None:
    """Adds a legend above a figure of rows: methods, intervals, and lines that `guide` drew."""
    from matplotlib.legend_handler import HandlerLine2D
    from matplotlib.lines import Line2D

    present = {subject.method for subject in subjects}
    methods = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=METHODS[method])
        for method, look in METHOD_LOOKS.items()
        if method in present
    ]
    thin = Line2D([], [], color=GREY, linewidth=THIN, marker="|", label="Wilson interval")
    thick = Line2D([], [], color=GREY, linewidth=THICK, alpha=PALE, solid_capstyle="butt",
                   label="interval by group")  # fmt: skip
    handles = [*methods, thin, thick, *guides]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles),
                  handler_map={thin: HandlerLine2D(numpoints=2)})  # fmt: skip


def plot_point(
    axes: "Axes",
    x: float,
    found: Figure,
    bounds: tuple[float | None, float | None],
    look: Look,
    aside: float = 0.0,
) -> None:
    """Draws a figure above x with its bounds, if it has any, a line that a marker lies on.

    Parameters
    ----------
    aside
        Points (1/72 inch) to draw it right of x, so that it hides no other at the same x.
    """
    from matplotlib.transforms import ScaledTranslation

    lines = axes.plot([x], [found.value], color=look.color, marker=look.marker, linestyle="",
                      markeredgecolor="white", markeredgewidth=0.25, zorder=3)  # fmt: skip
    if None not in bounds:
        lines += axes.plot([x, x], bounds, color=look.color, linewidth=THIN, marker="_",
                           markersize=3.5, zorder=2)  # fmt: skip
    # Moved once they are plotted: the axes know the extent of what lies at its place in the data.
    for line in lines:
        moved = ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
        line.set_transform(axes.transData + moved)


def tiles(
    experiments: list[list[Subject]], height: float, x_label: str, y_label: str, lines: int
) -> "tuple[Canvas, list[tuple[Axes, Subject]]]":
    """Returns a figure with a panel for each subject, and the panels, each with its subject.

    An experiment begins a row of its own under its title; labels stand where no panel hides them.

    Parameters
    ----------
    height
        Inches that a row of three takes without what is written above its panels.
    lines
        So many lines `write_above` writes on a panel, below its subject's name.
    """
    across = ACROSS + (max(map(len, experiments)) > MANY)
    rows = [ceil(len(members) / across) for members in experiments]
    above = LINE * (lines + 1)
    row = height * ACROSS / across + above / 72
    figure = canvas(0.4 + row * sum(rows) + 0.2 * len(rows))
    free = iter(figure.subplots(sum(rows), across, squeeze=False))
    panels = []
    for number, members in zip(rows, experiments, strict=True):
        drawn = [axes for _ in range(number) for axes in next(free)]
        for place, (axes, name) in enumerate(zip(drawn, names_of(members), strict=False)):
            # Blank lines keep the place of what may be written on the panel.
            axes.set_title(name + "\n" * lines, fontsize=SMALL, weight="normal")
            axes.set_xlabel(x_label if place + across >= len(members) else "", fontsize=7)
            axes.set_ylabel(y_label if place % across == 0 else "", fontsize=7)
        _write_heading(drawn[0], members[0].title, above)
        for axes in drawn[len(members) :]:
            axes.set_visible(False)
        panels += zip(drawn, members, strict=False)
    return figure, panels


def _write_heading(axes: "Axes", text: str, above: float) -> None:
    """Writes a heading over a panel, so many points above it, as wide as it is.

    Lines that are left blank in the panel's title keep its place: as a part of the layout it would
    make the panel's whole column as wide as itself.
    """
    axes.set_title(f"\n\n{axes.get_title(loc='left')}", fontsize=SMALL, weight="normal")
    heading = axes.annotate(text, (0, 1), (0, above + 4), "axes fraction", "offset points",
                            fontsize=8.5, weight="bold", annotation_clip=False)  # fmt: skip
    heading.set_in_layout(False)


def write_above(axes: "Axes", *lines: str) -> None:
    """Writes lines below the name on top of a panel."""
    written = "\n".join([axes.get_title(loc="left").rstrip("\n"), *lines])
    axes.set_title(written, fontsize=SMALL, weight="normal")


def say_absent(axes: "Axes", why: str) -> None:
    """Says in the middle of an empty panel why nothing is drawn in it."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "\n".join(wrap(why, 26)), transform=axes.transAxes, ha="center",
              va="center", color=FAINT, fontsize=7)  # fmt: skip


def name_legend(axes: "Axes", styles: dict[str, Look], *more: "Line2D") -> None:
    """Adds a legend of markers right of the panel, and of lines that are drawn with them.

    Of trials that share one look it says how many they are.
    """
    from matplotlib.lines import Line2D

    entries = styles
    if len(styles) > LOOKS:
        entries = {f"one of {count(len(styles))} trials": next(iter(styles.values()))}
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=name)
        for name, look in entries.items()
    ]
    axes.legend(handles=[*handles, *more], loc="upper left", bbox_to_anchor=(1.03, 1.0),
                borderaxespad=0, ncols=ceil(len(handles) / ENTRIES), handletextpad=0.3)  # fmt: skip


def _draw_absence(axes: "Axes", row: int, text: str) -> None:
    place = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    axes.text(0.5, row, text, color=INK, bbox={"facecolor": "white", "linewidth": 0}, **place)


def _draw_figure(axes: "Axes", row: int, found: Figure, look: Look) -> None:
    low, high = found.interval(BY_GROUP)
    if low is not None:
        axes.plot([low, high], [row, row], color=look.color, linewidth=THICK, alpha=PALE,
                  solid_capstyle="butt")  # fmt: skip
    low, high = found.interval(WILSON)
    if low is not None:
        axes.plot([low, high], [row, row], color=look.color, linewidth=THIN, marker="|")
    axes.plot([found.value], [row], color=look.color, marker=look.marker)


def mark(figure: "Canvas", text: str) -> None:
    """Says on top, above the legend, what must be known before the figure is read."""
    lines = wrap(text, 80)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + MARK * (len(lines) + 0.5))
    # A layout of its own for the title would lay it over a legend that stands there.
    if figure.legends:
        figure.legends[0].set_title("\n".join(lines))
        written = figure.legends[0].get_title()
    else:
        written = figure.suptitle("\n".join(lines))
    written.set(color=RED, weight="bold", size=9)


def save(figure: "Canvas", pdf: Path, png: Path, title: str) -> None:
    """Writes a figure as PDF and PNG, both or none, without the date, its title within."""
    with written_whole(pdf) as vector, written_whole(png) as pixels:
        figure.savefig(vector, format="pdf", metadata={"CreationDate": None, "Title": title})
        figure.savefig(pixels, format="png", metadata={"Software": None, "Title": title})
