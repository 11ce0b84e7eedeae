"""Prints the findings on datasets to the terminal, the worst first.

python -m scripts.terminal.doctor results/doctor/*.json
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json

if TYPE_CHECKING:
    from rich.table import Table as Grid

SEVERITIES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
EXAMPLES = 3


def main(argv: list[str] | None = None) -> int:
    """Prints a table for each file; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.terminal.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", help="what scripts.data.doctor wrote")
    arguments = parser.parse_args(argv)

    from scripts.terminal.console import terminal

    console = terminal(highlight=False)
    for path in arguments.files:
        content = _read(path)
        findings = content["findings"]
        console.print(headline(content), soft_wrap=True)
        if any(finding["severity"] != "ok" for finding in findings):
            console.print(grid(findings))
        console.print(clean(findings))
        console.print()
    return 0


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    content = read_json(path)
    if "findings" not in content:
        raise BadInput(f"{path}: found no findings; scripts.data.doctor writes them")
    return content


def headline(content: dict[str, Any]) -> str:
    """Returns the name, the rows of each split, and the number of findings of each severity."""
    from rich.markup import escape

    rows = ", ".join(f"{split} {count:,}" for split, count in content["rows"].items() if count)
    found = [finding["severity"] for finding in content["findings"]]
    counts = ", ".join(f"{found.count(severity)} {severity}" for severity in SEVERITIES)
    return f"[bold]{escape(content['name'])}[/bold] ({rows}): {counts}"


def grid(findings: list[dict[str, Any]]) -> "Grid":
    """Returns a table of what was found, worst first."""
    from rich import box
    from rich.table import Table as Grid

    order = list(SEVERITIES)
    table = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("severity", no_wrap=True)
    table.add_column("split", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("what it means", ratio=1)
    for finding in sorted(findings, key=lambda finding: order.index(finding["severity"])):
        severity = finding["severity"]
        if severity != "ok":
            table.add_row(
                f"[{SEVERITIES[severity]}]{severity}[/]",
                finding["split"] or "",
                f"{finding['count']:,} of {finding['of']:,}",
                meaning(finding),
            )
    return table


def meaning(finding: dict[str, Any]) -> str:
    """Returns a finding's check, sentence and first examples as one cell."""
    from rich.markup import escape

    check = finding["check"].replace("_", " ")
    examples = finding["examples"][:EXAMPLES]
    if examples and finding["count"] > len(examples):
        examples = [*examples, "…"]
    where = f" [dim]({escape(', '.join(examples))})[/dim]" if examples else ""
    return f"[bold]{check}[/bold]: {escape(finding['text'])}{where}"


def clean(findings: list[dict[str, Any]]) -> str:
    """Returns the checks that found nothing in any split, in a line."""
    found = {finding["check"] for finding in findings if finding["severity"] != "ok"}
    checks = dict.fromkeys(finding["check"] for finding in findings)
    names = [check.replace("_", " ") for check in checks if check not in found]
    return f"[{SEVERITIES['ok']}]ok[/]: {', '.join(names) or 'none'}"


if __name__ == "__main__":
    run(main)
