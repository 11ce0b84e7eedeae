"""The command lines of the report, and what a table's does."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.common.files import write_text
from scripts.report.read import Subject, parse_plan, subjects_of
from scripts.report.render import Table, csv_text, latex_text, markdown_text

FORMS = {"csv": csv_text, "md": markdown_text, "tex": latex_text}


def write_table(
    make: Callable[[list[Subject]], Table], description: str, argv: list[str] | None
) -> int:
    """Makes a table and writes its three forms; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.
    """
    arguments = parse(description, FORMS, argv)
    table = make(subjects_of(arguments.root, arguments.plan))
    texts = {form: render(table) for form, render in FORMS.items()}
    for form, text in texts.items():
        write_text(getattr(arguments, form), text)
    return 0


def parse(description: str, forms: Iterable[str], argv: list[str] | None) -> argparse.Namespace:
    """Returns the results folder, the plan and the paths of the forms to write."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--plan", type=parse_plan, required=True,
        help="JSON list of experiments: experiment, title, base, sft, dpo",
    )  # fmt: skip
    for form in forms:
        parser.add_argument(f"--{form}", type=Path, required=True, help=f"the {form} to write")
    return parser.parse_args(argv)
