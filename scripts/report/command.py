"""Writes the forms of the tables of ratings."""

import argparse

from scripts.common.files import write_text
from scripts.report.render import Table, csv_text, latex_text, markdown_text

FORMS = {"csv": csv_text, "md": markdown_text, "tex": latex_text}
MACHINES = "csv"


def write_texts(table: Table, arguments: argparse.Namespace) -> None:
    """Writes a table's three forms, as it is; the one for machines has every row."""
    read = table.cut()
    texts = {form: render(table if form == MACHINES else read) for form, render in FORMS.items()}
    for form, text in texts.items():
        write_text(getattr(arguments, form), text)
