"""The command lines of the report, and what a table's does."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from scripts.common.files import write_text
from scripts.report.read import PLAN_KEYS, Subject, parse_plan, subjects_of
from scripts.report.render import Table, csv_text, json_text, latex_text, markdown_text

FORMS = {"csv": csv_text, "md": markdown_text, "tex": latex_text}
PAGE_FORM = "json"
"""For the report's page; written where it is asked for."""


def write_table(
    make: Callable[[list[Subject]], Table], description: str, argv: list[str] | None
) -> int:
    """Makes a table of the plan's subjects and writes its forms; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.
    """
    arguments = parse(description, FORMS, argv)
    return write_forms(make(subjects_of(arguments.root, arguments.plan)), arguments)


def write_forms(table: Table, arguments: argparse.Namespace) -> int:
    """Writes a table's forms under the mark that the arguments name; returns 0."""
    marked = replace(table, mark=arguments.mark)
    texts = {form: render(marked) for form, render in FORMS.items()}
    if arguments.json:
        texts[PAGE_FORM] = json_text(marked)
    for form, text in texts.items():
        write_text(getattr(arguments, form), text)
    return 0


def parse(
    description: str,
    forms: Iterable[str],
    argv: list[str] | None,
    files: Mapping[str, str] = MappingProxyType({}),
) -> argparse.Namespace:
    """Returns the results folder, the plan, the mark and the paths of the forms to write.

    Parameters
    ----------
    files
        Further files to read: what each is, by the name of its option.
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
    if forms is FORMS:
        parser.add_argument(f"--{PAGE_FORM}", type=Path, help="the JSON to write, for the page")
    return parser.parse_args(argv)
