"""The page of a run: one HTML file that needs nothing else, with all that people want to read.

    python -m scripts.report.page.make --root results/demo --plan '[{"experiment": …}, …]' \\
        --tables summary sft dpo --figures accuracy curves --html results/demo/report.html

Beside this module are a template, a style sheet and a script, which go into the file. Tables and
figures are those in the folder of the page.
"""

import argparse
import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.files import damaged, read_object, write_text
from scripts.common.methods import BASE, METHODS
from scripts.report.arguments import parser, results_of
from scripts.report.catalog import FIGURES, TABLES
from scripts.report.headline import leading
from scripts.report.page.answers import PROMPTS, sets_of
from scripts.report.page.findings import NOTE, Sentence, sentences
from scripts.report.page.trials import groups_of
from scripts.report.results import Results, read
from scripts.report.text import allowed

if TYPE_CHECKING:
    from jinja2 import Environment

PARTS = Path(__file__).parent
FEW_COLUMNS = 10
"""A table with more is printed across."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it; sizes in pixels."""

    name: str
    caption: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Grid:
    """A table as the page shows it: its JSON form, and its CSV to download."""

    name: str
    title: str
    caption: str
    columns: list[dict[str, str]]
    rows: list[list[dict[str, Any]]]
    notes: list[str]
    csv: str

    @property
    def wide(self) -> bool:
        """True if it is printed across."""
        return len(self.columns) > FEW_COLUMNS


@dataclass(frozen=True)
class Chapter:
    """What an experiment ran and found."""

    title: str
    ran: str
    sentences: list[Sentence]


def picture(root: Path, name: str) -> Picture:
    """Return a figure of a run. Raise BadInput if its PNG is missing or is not one."""
    path = root / "figures" / f"{name}.png"
    content = read(path, Path.read_bytes)
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        raise damaged(path, "not a PNG")
    # The header chunk is first, after its length and name (https://www.w3.org/TR/png/#11IHDR).
    width, height = struct.unpack(">II", content[16:24])
    data = base64.b64encode(content).decode()
    return Picture(name, FIGURES[name].caption, data, width, height)


def grid(root: Path, name: str) -> Grid:
    """Return a table of a run. Raise BadInput if one of its files is missing or unreadable."""
    path = root / "tables" / f"{name}.json"
    made = read(path, read_object)
    content = read(path.with_suffix(".csv"), Path.read_bytes)
    try:
        return Grid(caption=TABLES[name].caption, csv=base64.b64encode(content).decode(), **made)
    except TypeError:
        raise damaged(path, "not a table as reports write it") from None


def chapters(results: Results) -> list[Chapter]:
    """Return what each experiment ran and found."""
    return [
        Chapter(members["title"].iloc[0], ran(own), sentences(own))
        for _, members in results.models.groupby("experiment", sort=False)
        for own in [results.only(members)]
    ]


def ran(results: Results) -> str:
    """Return how many trials of each method an experiment has, and the seeds."""
    models = results.models
    parts = [f"base {name}" for name in models.loc[models["method"] == BASE, "model"]]
    counts = models["method"].value_counts()
    parts += [
        counted(counts[name], f"{method.label} trial")
        for name, method in METHODS.items()
        if name in counts
    ]
    seeds = sorted({seed for those in models["seeds"] for seed in those})
    if seeds:
        parts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    return ", ".join(parts)


def counted(number: int, thing: str) -> str:
    """Return how many of a thing there are: 1 row, 2,000 rows."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def environment() -> "Environment":
    """Return Jinja with the page's folder; whatever a template prints is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    made.filters["counted"] = counted
    return made


def page(
    results: Results, grids: Iterable[Grid], pictures: Iterable[Picture], mark: str | None
) -> str:
    """Return the page; of very many trials it has the settings and answers of those that lead.

    Its policy lets it load nothing, and run its own script only.
    """
    kept, left_out = leading(results)
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        environment()
        .get_template("page.html")
        .render(
            chapters=chapters(results),
            note=NOTE,
            grids=list(grids),
            pictures=list(pictures),
            trained=len(results.each_seed.models),
            left_out=left_out,
            sets=sets_of(kept),
            most=PROMPTS,
            groups=groups_of(kept),
            mark=mark,
            style=style,
            script=script,
            digests=[allowed(style), allowed(script)],
        )
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    options = parser(__doc__)
    for kind, known in (("tables", TABLES), ("figures", FIGURES)):
        options.add_argument(
            f"--{kind}", nargs="+", default=[], choices=known, metavar="NAME",
            help=f"the {kind} to show, in order",
        )  # fmt: skip
    options.add_argument("--html", type=Path, required=True, help="the page to write")
    return options.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 0. Raise BadInput, and write nothing, if a file is missing."""
    arguments = parse_arguments(argv)
    folder = arguments.html.parent
    grids = (grid(folder, name) for name in arguments.tables)
    pictures = (picture(folder, name) for name in arguments.figures)
    text = page(results_of(arguments), grids, pictures, arguments.mark)
    write_text(arguments.html, text)
    return 0


if __name__ == "__main__":
    run(main)
