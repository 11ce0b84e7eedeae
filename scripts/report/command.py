"""The command lines of the report, and what a table's does."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from scripts.common.files import write_text
from scripts.report.caption import statement, version_notes
from scripts.report.read import PLAN_KEYS, Subject, parse_plan, subjects_of
from scripts.report.render import Table, csv_text, latex_text, markdown_text

FORMS = {"csv": csv_text, "md": markdown_text, "tex": latex_text}


def write_table(
    make: Callable[[list[Subject]], Table], description: str, argv: list[str] | None
) -> int:
    """Makes a table of the plan's subjects and writes its three forms; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.
    """
    arguments = parse(description, FORMS, argv)
    subjects = subjects_of(arguments.root, arguments.plan)
    return write_forms(make(subjects), subjects, arguments)


def write_forms(table: Table, subjects: list[Subject], arguments: argparse.Namespace) -> int:
    """Writes a table's three forms under the mark that the arguments name; returns 0.

    Whatever the table, it says what its subjects' numbers rest on.
    """
    marked = replace(
        table,
        mark=arguments.mark,
        notes=[*table.notes, *version_notes(subjects)],
        statement=statement(table, subjects),
    )
    texts = {form: render(marked) for form, render in FORMS.items()}
    for form, text in texts.items():
        write_text(getattr(arguments, form), text)
    return 0


def parse(
    description: str,
    forms: Iterable[str],
    argv: list[str] | None,
    files: Mapping[str, str] = MappingProxyType({}),
    optional: Iterable[str] = (),
) -> argparse.Namespace:
    """Returns the results folder, the plan, the mark and the paths of the forms to write.

    Parameters
    ----------
    files
        Further files to read: what each is, by the name of its option.
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
    parser.add_argument("--mark", help="what must be known before any number is read")
    for form in forms:
        parser.add_argument(f"--{form}", type=Path, required=True, help=f"the {form} to write")
    for form in optional:
        parser.add_argument(f"--{form}", type=Path, help=f"the {form} to write")
    return parser.parse_args(argv)
