"""Write a table: a frame, and how people read its columns, as CSV, Markdown, LaTeX and JSON."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scripts.common.files import write_text
from scripts.common.states import DONE, FAILED
from scripts.report import arguments as options
from scripts.report.drift import drift_notes
from scripts.report.notes import sign_notes, version_notes
from scripts.report.results import INTERVALS, MODEL, RUN, Results
from scripts.report.tables.data_notes import data_notes
from scripts.report.tables.latex import cell as latex_cell
from scripts.report.tables.latex import latex
from scripts.report.text import Show, count, markdown, missing, shown, shown_interval

if TYPE_CHECKING:
    from pandas import DataFrame

FORMS = ("csv", "md", "tex", "json")
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Make a table that is wider than the text as wide as the text."""
PARAGRAPH = r"p{0.42\linewidth}"


@dataclass(frozen=True)
class Column:
    """A column as people read it, from columns of the frame.

    Attributes
    ----------
    header
        May be broken into lines.
    source, show
        The frame's column, and what writes one of its values; a missing one is a dash.
    align
        Left, right, or a paragraph: long text that keeps its line breaks.
    sd
        The column of the standard deviation, which stands behind the value after ±.
    bracket
        The columns of an interval's bounds, behind the value; without a source it stands alone.
    bold
        A column that says which cells are bold.
    once
        Blank where the row above is about the same; else only leading columns are.
    sort
        The column of the number that rows are sorted by on a page, if not the source.
    """

    header: str
    source: str = ""
    show: Show = str
    align: Literal["l", "r", "p"] = "r"
    sd: str = ""
    bracket: tuple[str, str] | None = None
    bold: str = ""
    once: bool = False
    sort: str = ""

    def text(self, row: dict[str, Any]) -> str:
        """Return the cell of a row."""
        low, high = (row[name] for name in self.bracket) if self.bracket else (None, None)
        if not self.source:
            return shown_interval(low, high, self.show)
        found = shown(row[self.source], self.show)
        if self.sd and not missing(row[self.sd]):
            found += f" ± {self.show(row[self.sd])}"
        if not missing(low) and not missing(high):
            found += f" {shown_interval(low, high, self.show)}"
        return found

    def number(self, row: dict[str, Any]) -> float | None:
        """Return the number that a row is sorted by; None sorts it by its text."""
        found = row.get(self.sort or self.source or (self.bracket or ("",))[0])
        numeric = isinstance(found, (int, float)) and not isinstance(found, bool)
        return found if numeric and not missing(found) else None


@dataclass(frozen=True)
class Table:
    """A table before it takes a form.

    Attributes
    ----------
    frame, csv
        A row a line of the table; the names of its columns that the CSV has.
    columns, notes
        What people read, and what stands below.
    stub
        So many leading columns, at least one, are blank where they repeat the row above.
    about
        The frame's columns that say what a row is about, for the columns that say it once.
    page
        So many rows fit on a page of a paper; a longer table becomes several there.
    mark
        What must be known before any number is read; it stands in title and rows.
    statement
        What the numbers rest on, in one sentence, for a paper's caption.
    most
        So many rows are the most that people read; of a longer table they get the first.
    """

    name: str
    title: str
    frame: "DataFrame"
    csv: list[str]
    columns: tuple[Column, ...]
    notes: list[str] = field(default_factory=list)
    stub: int = 1
    about: tuple[str, ...] = tuple(MODEL)
    page: int = 40
    mark: str | None = None
    statement: str = ""
    most: int = 5_000

    @property
    def heading(self) -> str:
        """The title, behind the mark."""
        return " — ".join(filter(None, (self.mark, self.title)))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The frame's rows."""
        return self.frame.to_dict("records")

    @cached_property
    def full(self) -> list[list[str]]:
        """The cells, those that repeat others too."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def texts(self, start: int = 0, stop: int | None = None) -> list[list[str]]:
        """Return the cells of these rows as people read them: of the first none is blank."""
        rows, full = self.rows[start:stop], self.full[start:stop]
        about = [tuple(str(row.get(name)) for name in self.about) for row in rows]
        found = full[:1]
        for number, (above, own) in enumerate(pairwise(full), start=1):
            again = [
                about[number] == about[number - 1] if column.once
                else place < self.stub and above[: place + 1] == own[: place + 1]
                for place, column in enumerate(self.columns)
            ]  # fmt: skip
            found.append(["" if it else text for it, text in zip(again, own, strict=True)])
        return found

    def bold(self, number: int, place: int) -> bool:
        """Return True for a cell that is bold."""
        name = self.columns[place].bold
        return bool(name) and self.rows[number][name] is True

    def cut(self) -> "Table":
        """Return the table as people read it: of very many rows the first, and a note on it."""
        if len(self.frame) <= self.most:
            return self
        note = (
            f"The first {count(self.most)} of {count(len(self.frame))} rows; "
            f"all of them are in {self.name}.csv."
        )
        return replace(self, frame=self.frame.head(self.most), notes=[note, *self.notes])


# -------------------------------------------------------------------------------- the four forms


def csv_text(table: Table) -> str:
    """Return the raw values, unrounded; one that is missing is an empty field.

    Text that a spreadsheet would take for a formula has an apostrophe before it, as OWASP advises
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    names = [*(["mark"] if table.mark else []), *table.csv]
    rows = (
        [*([table.mark] if table.mark else []), *(row[name] for name in table.csv)]
        for row in table.rows
    )
    return "".join(",".join(map(_csv_cell, row)) + "\n" for row in (names, *rows))


def _csv_cell(value: Any) -> str:
    if missing(value):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(_no_formula(value))
    # Python's own writer leaves a carriage return as it is, which spreadsheets take for a new row.
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\r\n') else text


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA) or NUMBER.fullmatch(value):
        return value
    return f"'{value}"


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a formula begins with, in full width too."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def json_text(table: Table) -> str:
    """Return what a page needs to show, sort and filter the table.

    A cell has the text for people, the number behind it (null where it is sorted by its text), and
    whether it repeats what stands above it.
    """
    rows = [
        [
            {"text": text, "number": column.number(row), "again": bool(text) and not said}
            for column, text, said in zip(table.columns, full, texts, strict=True)
        ]
        for row, full, texts in zip(table.rows, table.full, table.texts(), strict=True)
    ]
    made = {
        "name": table.name,
        "title": table.title,
        "columns": [{"header": it.header, "align": it.align} for it in table.columns],
        "rows": rows,
        "notes": table.notes,
    }
    return json.dumps(made, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_text(table: Table) -> str:
    """Return the table as Markdown, its title above and its notes below."""
    from pandas import DataFrame

    aligns = [column.align for column in table.columns]
    body = [
        [
            _markdown_cell(text, aligns[place], table.bold(number, place))
            for place, text in enumerate(row)
        ]
        for number, row in enumerate(table.texts())
    ]
    headers = [markdown(column.header) for column in table.columns]
    text = DataFrame(body, columns=headers).to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if align == "r" else "left" for align in aligns] if body else None,
    )
    # A paragraph would make every line as wide as itself.
    text = re.sub(r" +(?= \|)", "", text) if "p" in aligns else text
    notes = [f"- {markdown(note)}" for note in table.notes]
    return "\n".join([f"**{markdown(table.heading)}**", "", text, "", *notes]) + "\n"


def _markdown_cell(text: str, align: str, bold: bool) -> str:
    if align == "p":
        return "<br>".join(markdown(it, whole=True) for it in text.strip().splitlines())
    return f"**{markdown(text)}**" if bold and text else markdown(text)


def latex_text(table: Table) -> str:
    """Return the table as `table` environments, for a paper with booktabs and graphicx.

    The first column becomes a line above the rows that share it, which keeps the table narrow. A
    table that is longer than a page becomes several; the notes stand below the last.
    """
    starts = list(range(0, len(table.rows), table.page)) or [0]
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for number, start in enumerate(starts, start=1):
        place = f" ({number} of {len(starts)})" if len(starts) > 1 else ""
        caption = ". ".join(filter(None, [f"{table.heading}{place}", table.statement]))
        lines += [
            r"\begin{table}[tp]",
            r"\centering",
            rf"\caption{{{latex(' '.join(caption.split()))}}}",
            rf"\label{{tab:{table.name}{f'-{number}' if number > 1 else ''}}}",
            r"\smallskip",
            r"\setlength{\tabcolsep}{4pt}",
            f"{FIT}\n{_tabular(table, start)}}}",
            *([_latex_notes(table.notes)] if start == starts[-1] and table.notes else []),
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def _tabular(table: Table, start: int) -> str:
    """Return the rows of a page."""
    from pandas import DataFrame

    columns = table.columns[1:]
    body = []
    for number, (heading, *texts) in enumerate(table.texts(start, start + table.page), start):
        cells = [
            _latex_cell(text, column.align, table.bold(number, place))
            for place, (text, column) in enumerate(zip(texts, columns, strict=True), start=1)
        ]
        if heading:
            over = rf"\multicolumn{{{len(columns)}}}{{l}}{{{latex_cell(heading)}}} \\"
            cells[0] = f"\\midrule\n{over}\n{cells[0]}"
        body.append(cells)
    style = DataFrame(body, columns=list(map(_latex_header, columns))).style.hide(axis="index")
    rules = [{"selector": it, "props": f":{it};"} for it in ("toprule", "bottomrule")]
    aligns = "".join(PARAGRAPH if it.align == "p" else it.align for it in columns)
    return style.set_table_styles(rules).to_latex(column_format=aligns).rstrip()


def _latex_header(column: Column) -> str:
    lines = list(map(latex_cell, column.header.splitlines()))
    align = "r" if column.align == "r" else "l"
    broken = r"\\".join(lines)
    return rf"\shortstack[{align}]{{{broken}}}" if len(lines) > 1 else broken


def _latex_cell(text: str, align: str, bold: bool) -> str:
    if align == "p":
        return r" \newline ".join(map(latex_cell, text.strip().splitlines()))
    return rf"\textbf{{{latex_cell(text)}}}" if bold and text else latex_cell(text)


def _latex_notes(notes: list[str]) -> str:
    paragraphs = r"\par ".join(latex(" ".join(note.split())) for note in notes)
    return rf"\par\smallskip{{\footnotesize\raggedright {paragraphs}\par}}"


WRITERS = {"csv": csv_text, "md": markdown_text, "tex": latex_text, "json": json_text}


def write_texts(table: Table, paths: dict[str, Path | None]) -> None:
    """Write a table's forms, as it is; only the one for machines has every row."""
    read = table.cut()
    texts = {
        path: WRITERS[form](table if form == "csv" else read)
        for form, path in paths.items()
        if path
    }
    for path, text in texts.items():
        write_text(path, text)


# --------------------------------------------------------------------------------- command lines


def table_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of a table's options."""
    made = options.parser(description)
    made.add_argument(
        "--data", type=Path, nargs="*", default=[],
        help="what was left out of the data: dropped.parquet and the tokens' report.json",
    )  # fmt: skip
    for form in FORMS:
        made.add_argument(f"--{form}", type=Path, help=f"the {form} to write")
    return made


def write_table(make: Callable[[Results], Table], description: str, argv: list[str] | None) -> int:
    """Make a table of the plan's models and write its forms; return 0.

    Raise BadInput, and write nothing, if a file of the plan is missing or unreadable.
    """
    arguments = table_parser(description).parse_args(argv)
    results = options.results_of(arguments)
    return write_forms(make(results), results, arguments)


def write_forms(table: Table, results: Results, arguments: argparse.Namespace) -> int:
    """Write the forms of a table that the arguments name; return 0.

    Every table says which of its trials have signs that they went wrong, what its numbers rest on,
    what was left out of the data, and what ran with other packages than it should. Where the
    arguments hold states, each row says its own.
    """
    notes = [
        *sign_notes(results),
        *table.notes,
        *data_notes(arguments.data),
        *version_notes(results, results.models),
        *drift_notes(results),
    ]
    made = replace(table, mark=arguments.mark, notes=notes, statement=statement(table, results))
    made = made if arguments.states is None else so_far(made)
    write_texts(made, {form: getattr(arguments, form) for form in FORMS})
    return 0


def so_far(table: Table) -> Table:
    """Return the table with a column of states behind the seeds, and notes on what is not done.

    A table without seeds is not of trials, and stays as it is.
    """
    names = [name for name in table.csv if name in ("seed", "seeds")]
    if not names:
        return table
    sources = [column.source in (*names, "_protocol", "_model") for column in table.columns]
    place, behind = sources.index(True) + 1, table.csv.index(names[0]) + 1
    column = Column("State", "state", align="l", once=table.columns[place - 1].once)
    return replace(
        table,
        columns=(*table.columns[:place], column, *table.columns[place:]),
        csv=[*table.csv[:behind], "state", "reason", "log", *table.csv[behind:]],
        notes=[*state_notes(table.frame), *table.notes],
    )


def state_notes(frame: "DataFrame") -> list[str]:
    """Return why each failed trial failed, and what else is not done."""
    undone = frame[frame["undone"].notna()].drop_duplicates("undone").to_dict("records")
    failed = [row for row in undone if row["state"] == FAILED]
    others: dict[str, list[str]] = {}
    for row in undone:
        if row["state"] not in (DONE, FAILED):
            others.setdefault(row["state"], []).append(_undone(row))
    return [
        *(f"{_undone(row)}, failed: {row['reason']}. Log: {row['log']}" for row in failed),
        *(f"{word.capitalize()}: {'; '.join(them)}." for word, them in others.items()),
    ]


def _undone(row: dict[str, Any]) -> str:
    """Return what to call what is not done: of a trial the seed that is not."""
    found = RUN.match(row["undone"].removeprefix("trials/"))
    return f"{found[1]}, seed {found[2]}" if found else f"{row['model']} of {row['experiment']}"


def statement(table: Table, results: Results) -> str:
    """Return in one sentence what a table's numbers rest on: items, groups, intervals, seeds."""
    frame = table.frame[table.csv]
    measured = [name.removesuffix("groups") for name in frame if name.endswith("groups")]
    sizes = []
    for ending in ("n", "groups"):
        names = [f"{name}{ending}" for name in measured if f"{name}{ending}" in frame]
        found = frame[names].stack().dropna()
        if len(found):
            unit = "items" if ending == "n" else ending
            sizes.append(f"{_span(found.min(), found.max())} {unit}")
    methods = [label for name, label in INTERVALS.items() if _has_interval(frame, name)]
    seeds = sorted({seed for those in results.models["seeds"] for seed in those})
    parts = [
        " in ".join(sizes),
        f"95 % intervals: {', '.join(methods)}" if methods else "",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
    ]
    text = "; ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _has_interval(frame: "DataFrame", name: str) -> bool:
    """Return True if a column holds bounds of an interval, or names it."""
    low = f"_{name.replace(' ', '_')}_low"
    named = "interval_method" in frame and (frame["interval_method"] == name).any()
    return bool(named) or any(
        frame[column].notna().any() for column in frame if column.endswith(low)
    )


def _span(low: int, high: int) -> str:
    return count(low) if low == high else f"{count(low)} to {count(high)}"
