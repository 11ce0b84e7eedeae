"""A table is a list of columns over rows; here it becomes CSV, Markdown, LaTeX and JSON.

A column says what people read in a cell, and which CSV columns lie behind it. People's text is
Unicode; each form escapes it for itself.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

DASH = "–"
"""Stands where there is no figure."""

FELL = "↓"
SELECTED = "†"
"""Marks a trial whose reported split has selected its adapter."""

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
    align: Literal["l", "r", "p"] = "r"
    """Left, right, or a paragraph: long text that keeps its line breaks."""
    once: bool = False
    """Blank for people where the row above is of the same subject; the CSV has every value."""
    bold: Callable[[Any], bool] = lambda row: False
    """Whether people read the cell in bold."""
    key: Callable[[Any], Raw] | None = None
    """The number that rows are sorted by, where that is not the first of the values."""

    def over(self, part: Callable[[Any], Any]) -> "Column":
        """Returns the same column for rows of which `part` takes out what this one reads."""
        return replace(
            self,
            text=lambda row: self.text(part(row)),
            values=lambda row: self.values(part(row)),
            bold=lambda row: self.bold(part(row)),
            key=self.key and (lambda row: self.key(part(row))),
        )

    def number(self, row: Any) -> float | None:
        """Returns the number that a row is sorted by here; None sorts it by its text."""
        found = self.key(row) if self.key else next(iter(self.values(row)), None)
        return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


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
    subject: Callable[[Any], Any] = id
    """What a row is about, for the columns that say it once."""
    page: int = 40
    """So many rows fit on a page of a paper; a longer table becomes several there."""
    mark: str | None = None
    """What must be known before any number is read; it stands in title and rows."""
    statement: str = ""
    """What the numbers rest on, in one sentence: it stands in a paper's caption."""
    most: int = 5_000
    """So many rows are more than people read: of a longer table they get the first."""

    @property
    def heading(self) -> str:
        """The title, behind the mark."""
        return " — ".join(filter(None, (self.mark, self.title)))

    def texts(self) -> list[list[str]]:
        """Returns the cells as people read them."""
        full = [[column.text(row) for column in self.columns] for row in self.rows]
        subjects = [self.subject(row) for row in self.rows]
        return [
            [
                "" if number and self._repeats(full, subjects, number, place) else cell
                for place, cell in enumerate(row)
            ]
            for number, row in enumerate(full)
        ]

    def cut(self) -> "Table":
        """Returns the table as people read it: of very many rows the first, and a note on it."""
        if len(self.rows) <= self.most:
            return self
        note = (
            f"The first {count(self.most)} of {count(len(self.rows))} rows; "
            f"all of them are in {self.name}.csv."
        )
        return replace(self, rows=self.rows[: self.most], notes=[note, *self.notes])

    def bolds(self) -> list[list[bool]]:
        """Tells of each cell whether it is bold."""
        return [[column.bold(row) for column in self.columns] for row in self.rows]

    def _repeats(self, full: list[list[str]], subjects: list[Any], number: int, place: int) -> bool:
        """Tells whether a cell says again what stands above it."""
        if self.columns[place].once:
            return subjects[number] == subjects[number - 1]
        above, row = full[number - 1], full[number]
        return place < self.stub and above[: place + 1] == row[: place + 1]


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
    """Returns the raw values, unrounded; a figure that is missing is an empty field.

    A mark becomes a column of its own, so that the file stays one table.
    """
    marking = Column("", str, ("mark",), lambda row: (table.mark,))
    columns = (*([marking] if table.mark else []), *table.columns)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(name for column in columns for name in column.names)
    for row in table.rows:
        values = (value for column in columns for value in column.values(row))
        writer.writerow(str(it).lower() if isinstance(it, bool) else it for it in values)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------ JSON


def json_text(table: Table) -> str:
    """Returns what a page needs to show, sort and filter the table.

    A cell has the text for people, the number behind it (null where it is sorted by its text), and
    whether it says again what stands above it.
    """
    rows = [
        [
            {"text": text, "number": column.number(row), "again": text != "" and not said}
            for column, text, said in zip(
                table.columns, (column.text(row) for column in table.columns), texts, strict=True
            )
        ]
        for row, texts in zip(table.rows, table.texts(), strict=True)
    ]
    made = {
        "name": table.name,
        "title": table.title,
        "columns": [{"header": it.header, "align": it.align} for it in table.columns],
        "rows": rows,
        "notes": table.notes,
    }
    return json.dumps(made, ensure_ascii=False, allow_nan=False) + "\n"


# -------------------------------------------------------------------------------------- Markdown


def markdown_text(table: Table) -> str:
    """Returns the table as Markdown, its title above and its notes below."""
    aligns = [column.align for column in table.columns]
    headers = [_markdown_cell(column.header) for column in table.columns]
    body = [
        [
            _markdown_bold(MARKDOWN[align](cell), bold)
            for cell, align, bold in zip(row, aligns, bolds, strict=True)
        ]
        for row, bolds in zip(table.texts(), table.bolds(), strict=True)
    ]
    # A paragraph would make every line as wide as itself.
    widths = [
        3 if align == "p" else max(3, *map(len, cells))
        for cells, align in zip(zip(headers, *body, strict=True), aligns, strict=True)
    ]
    rules = [
        f"{'-' * (width - 1)}:" if align == "r" else "-" * width
        for align, width in zip(aligns, widths, strict=True)
    ]
    lines = [_markdown_line(cells, widths, aligns) for cells in (headers, rules, *body)]
    notes = [f"- {_markdown_cell(note)}" for note in table.notes]
    return "\n".join([f"**{_markdown_cell(table.heading)}**", "", *lines, "", *notes]) + "\n"


def markdown(text: str) -> str:
    """Returns a line of text with every character that Markdown would read as markup escaped."""
    return _markdown_cell(text)


def _markdown_line(cells: list[str], widths: list[int], aligns: list[str]) -> str:
    padded = (
        cell.rjust(width) if align == "r" else cell.ljust(width)
        for cell, width, align in zip(cells, widths, aligns, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\`*_<>|~])", r"\\\1", " ".join(printable(text).split()))


def _markdown_bold(cell: str, bold: bool) -> str:
    return f"**{cell}**" if bold and cell else cell


def _markdown_paragraph(text: str) -> str:
    """Escapes anybody's text, which may hold links, images, entities and formulas too."""
    return "<br>".join(
        re.sub(r"([\[\]&$!#])", r"\\\1", _markdown_cell(line)) for line in _lines(text)
    )


MARKDOWN = {"l": _markdown_cell, "r": _markdown_cell, "p": _markdown_paragraph}


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


def printable(text: str) -> str:
    """Returns text with every control character, unseen by people, as its code point."""
    return "".join(
        _code_point(it) if unicodedata.category(it) in ("Cc", "Cf") and not it.isspace() else it
        for it in text
    )


def _code_point(character: str) -> str:
    return f"[U+{ord(character):04X}]"


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
    SELECTED: r"$\dagger$",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
    "`": r"\textasciigrave{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "•": r"\textbullet{}",
    "°": r"\textdegree{}",
    "£": r"\pounds{}",
    "€": r"\texteuro{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "·": r"\textperiodcentered{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "ł": r"\l{}",
    "ı": r"\i{}",
    "¡": r"\textexclamdown{}",
    "¿": r"\textquestiondown{}",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "→": r"$\rightarrow$",
    "½": r"$\frac{1}{2}$",
    "¼": r"$\frac{1}{4}$",
    "¾": r"$\frac{3}{4}$",
    "²": r"$^{2}$",
    "³": r"$^{3}$",
    "§": r"\S{}",
}
ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=",
    "\u0306": r"\u", "\u0307": r"\.", "\u0308": r"\"", "\u030a": r"\r", "\u030b": r"\H",
    "\u030c": r"\v", "\u0327": r"\c",
}  # fmt: skip
"""What LaTeX's own fonts put on a letter."""
PARAGRAPH = r"p{0.42\linewidth}"

FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes a table that is wider than the text as wide as the text."""


def latex_text(table: Table) -> str:
    """Returns the table as `table` environments, for a paper with booktabs and graphicx.

    The first column becomes a line above the rows that share it, which keeps the table narrow. A
    table that is longer than a page becomes several; the notes stand below the last.
    """
    parts = list(_pages(table))
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for number, page in enumerate(parts, start=1):
        place = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        last = number == len(parts)
        lines += [
            r"\begin{table}[tp]",
            r"\centering",
            rf"\caption{{{latex(_caption(table, place))}}}",
            rf"\label{{tab:{table.name}{f'-{number}' if number > 1 else ''}}}",
            r"\smallskip",
            *_tabular(page),
            *([_latex_notes(table.notes)] if last and table.notes else []),
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def _caption(table: Table, place: str) -> str:
    """Returns the title, which page of the table it is, and what its numbers rest on."""
    return ". ".join(filter(None, [f"{table.heading}{place}", table.statement]))


def _pages(table: Table) -> Iterator[Table]:
    """Yields the table of each page; the first row's leading cells are never blank."""
    starts = range(0, len(table.rows), table.page) or [0]
    for start in starts:
        yield replace(table, rows=table.rows[start : start + table.page])


def _tabular(table: Table) -> list[str]:
    columns = table.columns[1:]
    aligns = "".join(PARAGRAPH if it.align == "p" else it.align for it in columns)
    lines = []
    for (heading, *cells), (_, *bolds) in zip(table.texts(), table.bolds(), strict=True):
        if heading:
            lines.append(r"\midrule")
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{{_latex_cell(heading)}}} \\")
        shown = zip(cells, columns, bolds, strict=True)
        lines.append(_latex_line([_latex_of(*cell) for cell in shown]))
    return [
        r"\setlength{\tabcolsep}{4pt}",
        FIT,
        rf"\begin{{tabular}}{{{aligns}}}",
        r"\toprule",
        _latex_line([_latex_header(column) for column in columns]),
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _latex_notes(notes: list[str]) -> str:
    paragraphs = r"\par ".join(latex(" ".join(note.split())) for note in notes)
    return rf"\par\smallskip{{\footnotesize\raggedright {paragraphs}\par}}"


def latex(text: str) -> str:
    """Returns text with every character that LaTeX would read as a command escaped.

    What LaTeX's own fonts lack stands as its code point: nothing is left out unseen.
    """
    return "".join(map(_latex_character, unicodedata.normalize("NFC", printable(text))))


def _latex_character(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character
    if character.isspace():
        return " "
    letter, *marks = unicodedata.normalize("NFD", character)
    if len(marks) == 1 and letter.isascii() and marks[0] in ACCENTS:
        return rf"{ACCENTS[marks[0]]}{{{letter}}}"
    return _code_point(character)


def _latex_header(column: Column) -> str:
    lines = [_latex_cell(line) for line in column.header.splitlines()]
    broken = r"\\".join(lines)
    align = "r" if column.align == "r" else "l"
    return rf"\shortstack[{align}]{{{broken}}}" if len(lines) > 1 else broken


def _latex_of(text: str, column: Column, bold: bool) -> str:
    if column.align != "p":
        cell = _latex_cell(text)
        return rf"\textbf{{{cell}}}" if bold and cell else cell
    return r" \newline ".join(map(_latex_cell, _lines(text)))


def _latex_cell(text: str) -> str:
    return _after_break(latex(" ".join(text.split())))


def _latex_line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _after_break(text: str) -> str:
    r"""Keeps a bracket or a star from being read as the option of a `\\` before it."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text
