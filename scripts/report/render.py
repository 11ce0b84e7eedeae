"""A table is a list of columns over rows; here it becomes CSV, Markdown and LaTeX.

A column says what people read in a cell, and which CSV columns lie behind it. People's text is
Unicode; each form escapes it for itself.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

DASH = "–"
"""Stands where there is no figure."""

FELL = "↓"

Raw = str | int | float | bool | None
Show = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """One column for people, and the CSV columns behind it, which may be none."""

    header: str
    """May be broken into lines."""
    text: Callable[[Any], str]
    names: tuple[str, ...] = ()
    values: Callable[[Any], tuple[Raw, ...]] = lambda row: ()
    align: Literal["l", "r"] = "r"

    def over(self, part: Callable[[Any], Any]) -> "Column":
        """Returns the same column for rows of which `part` takes out what this one reads."""
        return replace(
            self,
            text=lambda row: self.text(part(row)),
            values=lambda row: self.values(part(row)),
        )


@dataclass(frozen=True)
class Table:
    """A table before it takes a form."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: list[Any]
    notes: list[str]
    stub: int = 1
    """So many leading columns, at least one, are left blank where they repeat the row above."""

    def texts(self) -> list[list[str]]:
        """Returns the cells as people read them."""
        full = [[column.text(row) for column in self.columns] for row in self.rows]
        above = [[], *full]
        return [
            [
                "" if place < self.stub and before[: place + 1] == row[: place + 1] else cell
                for place, cell in enumerate(row)
            ]
            for before, row in zip(above, full, strict=False)
        ]


# ------------------------------------------------------------------------------------- one value


def shown(value: Any, show: Show) -> str:
    """Returns a value as text: a dash where there is none."""
    return DASH if value is None else show(value)


def shown_interval(bounds: tuple[float | None, float | None], show: Show) -> str:
    """Returns an interval in brackets: a dash where there is none."""
    low, high = bounds
    return DASH if low is None or high is None else f"[{show(low)}, {show(high)}]"


def decimals(places: int) -> Show:
    """Returns a way to show a number with so many decimals."""
    return lambda value: f"{value:z,.{places}f}".replace("-", "−")


def change(places: int) -> Show:
    """Returns a way to show a difference, with its sign."""
    return lambda value: f"{value:+z,.{places}f}".replace("-", "−")


def count(value: int) -> str:
    """Returns a whole number with its thousands apart."""
    return f"{value:,}"


def short(value: float) -> str:
    """Returns a setting as people write it: 0.05, 3, 1.5."""
    return f"{value:g}"


def power(value: float) -> str:
    """Returns a learning rate as people write it: 2e-4."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


# ------------------------------------------------------------------------------------------- CSV


def csv_text(table: Table) -> str:
    """Returns the raw values, unrounded; a figure that is missing is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(name for column in table.columns for name in column.names)
    for row in table.rows:
        values = (value for column in table.columns for value in column.values(row))
        writer.writerow(str(it).lower() if isinstance(it, bool) else it for it in values)
    return buffer.getvalue()


# -------------------------------------------------------------------------------------- Markdown


def markdown_text(table: Table) -> str:
    """Returns the table as Markdown, its title above and its notes below."""
    headers = [_markdown_cell(column.header) for column in table.columns]
    body = [[_markdown_cell(cell) for cell in row] for row in table.texts()]
    widths = [max(3, *map(len, cells)) for cells in zip(headers, *body, strict=True)]
    aligns = [column.align for column in table.columns]
    rules = [
        f"{'-' * (width - 1)}:" if align == "r" else "-" * width
        for align, width in zip(aligns, widths, strict=True)
    ]
    lines = [_markdown_line(cells, widths, aligns) for cells in (headers, rules, *body)]
    notes = [f"- {_markdown_cell(note)}" for note in table.notes]
    return "\n".join([f"**{_markdown_cell(table.title)}**", "", *lines, "", *notes]) + "\n"


def _markdown_line(cells: list[str], widths: list[int], aligns: list[str]) -> str:
    padded = (
        cell.rjust(width) if align == "r" else cell.ljust(width)
        for cell, width, align in zip(cells, widths, aligns, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\`*_<>|~])", r"\\\1", " ".join(text.split()))


# ----------------------------------------------------------------------------------------- LaTeX

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    FELL: r"$\downarrow$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
}

FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes a table that is wider than the text as wide as the text."""


def latex_text(table: Table) -> str:
    """Returns the table as a `table` environment, for a paper with booktabs and graphicx.

    The first column becomes a line above the rows that share it, which keeps the table narrow.
    """
    columns = table.columns[1:]
    aligns = "".join(column.align for column in columns)
    lines = []
    for heading, *cells in table.texts():
        if heading:
            lines.append(r"\midrule")
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{{_latex_cell(heading)}}} \\")
        lines.append(_latex_line([_latex_cell(cell) for cell in cells]))
    caption = " ".join(latex(text) for text in (f"{table.title}.", *table.notes))
    return "\n".join([
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{table.name}}}",
        r"\smallskip",
        r"\setlength{\tabcolsep}{4pt}",
        FIT,
        rf"\begin{{tabular}}{{{aligns}}}",
        r"\toprule",
        _latex_line([_latex_header(column) for column in columns]),
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def latex(text: str) -> str:
    """Returns text with every character that LaTeX would read as a command escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def _latex_header(column: Column) -> str:
    lines = [_latex_cell(line) for line in column.header.splitlines()]
    broken = r"\\".join(lines)
    return rf"\shortstack[{column.align}]{{{broken}}}" if len(lines) > 1 else broken


def _latex_cell(text: str) -> str:
    return _after_break(latex(" ".join(text.split())))


def _latex_line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _after_break(text: str) -> str:
    r"""Keeps a bracket or a star from being read as the option of a `\\` before it."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text
