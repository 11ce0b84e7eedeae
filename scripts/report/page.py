"""The page of a run: one HTML file that needs nothing else, with all that people want to read.

    python -m scripts.report.page --root results/demo --plan '[{"experiment": …}, …]' \\
        --tables summary sft dpo --figures accuracy curves \\
        --table-captions report/table.rst --figure-captions report/figure.rst \\
        --html results/demo/report.html

The look is in scripts/report/page/: a template, a style sheet and a script, which go into the file.
"""

import argparse
import base64
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import write_text
from scripts.report.findings import NOTE, sentences
from scripts.report.headline import leading
from scripts.report.made_by import groups_of
from scripts.report.read import (
    PLAN_KEYS,
    TRAINED,
    Subject,
    base_of,
    by_experiment,
    parse_plan,
    subjects_of,
    trial_of,
)
from scripts.report.side_by_side import PROMPTS, sets_of

if TYPE_CHECKING:
    from jinja2 import Environment

LOOK = Path(__file__).with_name("page")
FEW_COLUMNS = 10
"""A table with more is printed across."""

Caption = Callable[[str], str]


@dataclass(frozen=True)
class Picture:
    """A figure as a page shows it; sizes in pixels."""

    name: str
    caption: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Grid:
    """A table as a page shows it: what `json_text` wrote, and the CSV to keep."""

    name: str
    title: str
    caption: str
    columns: list[dict[str, str]]
    rows: list[list[dict[str, Any]]]
    notes: list[str]
    csv: str

    @property
    def wide(self) -> bool:
        """Whether it is printed across."""
        return len(self.columns) > FEW_COLUMNS


@dataclass(frozen=True)
class Chapter:
    """What an experiment asked and found."""

    title: str
    ran: str
    sentences: list[Any]


def picture(root: Path, name: str, caption: Caption) -> Picture:
    """Returns a figure of a run. Raises BadInput if its PNG is missing or is none."""
    path = root / "figures" / f"{name}.png"
    content = read_bytes(path)
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise BadInput(f"{path}: not a PNG")
    # The header chunk stands first, behind its length and name (https://www.w3.org/TR/png/#11IHDR).
    width, height = struct.unpack(">II", content[16:24])
    return Picture(name, caption(name), base64.b64encode(content).decode(), width, height)


def grid(root: Path, name: str, caption: Caption) -> Grid:
    """Returns a table of a run. Raises BadInput if one of its files is missing or unreadable."""
    path = root / "tables" / f"{name}.json"
    try:
        made = json.loads(read_bytes(path))
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    content = read_bytes(path.with_suffix(".csv"))
    return Grid(caption=caption(name), csv=base64.b64encode(content).decode(), **made)


def read_bytes(path: Path) -> bytes:
    """Returns what a file holds. Raises BadInput where there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def captions(path: Path, kind: str) -> Caption:
    """Returns what says the caption of a table or figure, as Snakemake's report renders it.

    Raises
    ------
    BadInput
        When the file has none for a name.
    """
    from jinja2 import Environment, StrictUndefined, TemplateError

    template = Environment(undefined=StrictUndefined).from_string(read_bytes(path).decode())

    def caption(name: str) -> str:
        try:
            text = template.render(snakemake={"wildcards": {kind: name}})
        except TemplateError as error:
            raise BadInput(f"{path}: no caption of the {kind} {name} ({error})") from None
        return " ".join(text.split())

    return caption


def each_run(root: Path, plan: list[dict[str, Any]]) -> list[Subject]:
    """Returns the plan's bases, its trials once a seed, and its lookups."""
    runs = [
        run
        for part in plan
        for run in (
            *base_of(root, part),
            *(
                trial_of(root, part, name, it)
                for it, those in part["trials"].items()
                for name in those
            ),
        )
    ]
    return [*runs, *(it for it in subjects_of(root, plan) if it.method == "lookup")]


def chapters(subjects: list[Subject]) -> list[Chapter]:
    """Returns what each experiment asked and found."""
    return [
        Chapter(members[0].title, ran(members), sentences(members))
        for members in by_experiment(subjects).values()
    ]


def ran(subjects: list[Subject]) -> str:
    """Returns what there is of each kind, and the seeds."""
    bases = [f"base {subject.name}" for subject in subjects if subject.method == "base"]
    names = {
        method: dict.fromkeys(it.name for it in subjects if it.method == method)
        for method in TRAINED
    }
    trials = [counted(len(found), f"{key.upper()} trial") for key, found in names.items() if found]
    seeds = sorted({subject.seed for subject in subjects if subject.seed is not None})
    numbers = ", ".join(map(str, seeds))
    said = [f"{'seed' if len(seeds) == 1 else 'seeds'} {numbers}"] if seeds else []
    return ", ".join([*bases, *trials, *said])


def counted(number: int, thing: str) -> str:
    """Returns how many of a thing there are."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def environment() -> "Environment":
    """Returns Jinja with the page's folder; whatever a template prints is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(LOOK),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    made.filters["counted"] = counted
    return made


def page(
    subjects: list[Subject], grids: Iterable[Grid], pictures: Iterable[Picture], mark: str | None
) -> str:
    """Returns the page; of very many trials it has the settings and answers of those that lead."""
    look = environment()
    kept, left_out = leading(subjects)
    return look.get_template("page.html").render(
        chapters=chapters(subjects),
        note=NOTE,
        grids=list(grids),
        pictures=list(pictures),
        trained=sum(subject.method in TRAINED for subject in subjects),
        left_out=left_out,
        sets=sets_of(kept),
        most=PROMPTS,
        groups=groups_of(kept),
        mark=mark,
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.report.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--plan", type=parse_plan, required=True,
        help=f"JSON list of experiments: {', '.join(PLAN_KEYS)}",
    )  # fmt: skip
    for kind in ("table", "figure"):
        parser.add_argument(
            f"--{kind}s", nargs="*", default=[], help=f"the {kind}s to show, in order"
        )
        parser.add_argument(
            f"--{kind}-captions", type=Path, required=True, help="template of their captions"
        )
    parser.add_argument("--mark", help="what must be known before any number is read")
    parser.add_argument("--html", type=Path, required=True, help="the page to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Writes the page; returns 0. Raises BadInput, and writes nothing, if a file is missing."""
    arguments = parse_arguments(argv)
    root = arguments.root
    table_caption = captions(arguments.table_captions, "table")
    figure_caption = captions(arguments.figure_captions, "figure")
    text = page(
        each_run(root, arguments.plan),
        map(partial(grid, root, caption=table_caption), arguments.tables),
        map(partial(picture, root, caption=figure_caption), arguments.figures),
        arguments.mark,
    )
    write_text(arguments.html, text)
    return 0


if __name__ == "__main__":
    run(main)
