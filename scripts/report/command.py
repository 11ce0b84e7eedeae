"""The command lines of the report, and what a table's does."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from scripts.common.files import write_text
from scripts.report.caption import statement, version_notes
from scripts.report.data_notes import data_notes
from scripts.report.drift import drift_notes
from scripts.report.read import (
    PLAN_KEYS,
    Subject,
    parse_plan,
    parse_states,
    subjects_of,
    with_states,
)
from scripts.report.render import Table, csv_text, json_text, latex_text, markdown_text
from scripts.report.so_far import so_far

FORMS = {"csv": csv_text, "md": markdown_text, "tex": latex_text}
MACHINES = "csv"
PAGE_FORM = "json"
"""For the report's page; written where it is asked for."""


def write_table(
    make: Callable[[list[Subject]], Table], description: str, argv: list[str] | None
) -> int:
    """Makes a table of the plan's subjects and writes its forms; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.
    """
    arguments = parse_table(description, argv)
    subjects = planned(arguments)
    return write_forms(make(subjects), subjects, arguments)


def parse_table(
    description: str, argv: list[str] | None, **more: Mapping[str, str]
) -> argparse.Namespace:
    """Returns the arguments of a table's command line: `parse` with its forms."""
    return parse(description, FORMS, argv, optional=[PAGE_FORM], **more)


def planned(arguments: argparse.Namespace) -> list[Subject]:
    """Returns the plan's subjects, with what became of them where the arguments say it."""
    root, states = arguments.root, arguments.states or {}
    return with_states(root, subjects_of(root, arguments.plan), states)


def write_forms(table: Table, subjects: list[Subject], arguments: argparse.Namespace) -> int:
    """Writes a table's forms under the mark that the arguments name; returns 0.

    Whatever the table, it says what its subjects' numbers rest on, what was left out of the data,
    and what ran with other packages than it should. Where the arguments hold states, each row says
    its own.
    """
    marked = replace(
        table,
        mark=arguments.mark,
        notes=[
            *table.notes,
            *data_notes(arguments.data),
            *version_notes(subjects),
            *drift_notes(subjects),
        ],
        statement=statement(table, subjects),
    )
    if arguments.states is not None:
        marked = so_far(marked, arguments.logs)
    write_texts(marked, arguments)
    if arguments.json:
        write_text(arguments.json, json_text(marked.cut()))
    return 0


def write_texts(table: Table, arguments: argparse.Namespace) -> None:
    """Writes a table's three forms, as it is; the one for machines has every row."""
    read = table.cut()
    texts = {form: render(table if form == MACHINES else read) for form, render in FORMS.items()}
    for form, text in texts.items():
        write_text(getattr(arguments, form), text)


def parse(
    description: str,
    forms: Iterable[str],
    argv: list[str] | None,
    files: Mapping[str, str] = MappingProxyType({}),
    lists: Mapping[str, str] = MappingProxyType({}),
    optional: Iterable[str] = (),
) -> argparse.Namespace:
    """Returns the results folder, the plan, the mark and the paths of the forms to write.

    Parameters
    ----------
    files
        Further files to read: what each is, by the name of its option.
    lists
        Options of any number of words, none by default: what they are, by name.
    optional
        Further forms, each written where it is asked for.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--plan", type=parse_plan, required=True,
        help=f"JSON list of experiments: {', '.join(PLAN_KEYS)}",
    )  # fmt: skip
    for name, what in files.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    for name, what in lists.items():
        parser.add_argument(f"--{name}", nargs="*", default=[], help=what)
    parser.add_argument("--mark", help="what must be known before any number is read")
    parser.add_argument(
        "--states", type=parse_states,
        help="JSON object of folders whose results are not awaited, with what became of each",
    )  # fmt: skip
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="the folder of logs")
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[],
        help="what was left out of the data: dropped.parquet and the tokens' report.json",
    )  # fmt: skip
    for form in forms:
        parser.add_argument(f"--{form}", type=Path, required=True, help=f"the {form} to write")
    for form in optional:
        parser.add_argument(f"--{form}", type=Path, help=f"the {form} to write")
    return parser.parse_args(argv)
