"""What `prefmake doctor` prints: the findings on each dataset, the worst first."""

from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.terminal.console import grid, terminal

Finding = dict[str, Any]

COLORS = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
"""Severities, the worst first."""
EXAMPLES = 3


def show(files: list[Path]) -> None:
    """Print a table for each file that scripts.data.doctor wrote. Raise BadInput for any other."""
    from rich.markup import escape

    console = terminal()
    for path in files:
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        content = read_json(path)
        if "findings" not in content:
            raise BadInput(f"{path}: found no findings; allowed: what scripts.data.doctor writes")
        severities = [finding["severity"] for finding in content["findings"]]
        counts = ", ".join(f"{severities.count(severity)} {severity}" for severity in COLORS)
        rows = ", ".join(f"{split} {count:,}" for split, count in content["rows"].items() if count)
        console.print(f"[bold]{escape(content['name'])}[/] ({rows}): {counts}", soft_wrap=True)

        found = [finding for finding in content["findings"] if finding["severity"] != "ok"]
        table = grid(("severity", "split", "count", "what it means"), ("what it means",))
        for finding in sorted(found, key=lambda finding: list(COLORS).index(finding["severity"])):
            severity = finding["severity"]
            table.add_row(
                f"[{COLORS[severity]}]{severity}[/]",
                finding["split"] or "",
                f"{finding['count']:,} of {finding['of']:,}",
                meaning(finding),
            )
        if found:
            console.print(table)
        checks = dict.fromkeys(finding["check"] for finding in content["findings"])
        clean = [named(check) for check in checks if all(it["check"] != check for it in found)]
        console.print(f"[{COLORS['ok']}]ok[/]: {', '.join(clean) or 'none'}\n")


def meaning(finding: Finding) -> str:
    """Return a finding's check, sentence and first examples as one cell, with rich's markup."""
    from rich.markup import escape

    examples = finding["examples"][:EXAMPLES]
    if examples and finding["count"] > len(examples):
        examples = [*examples, "…"]
    where = f" [dim]({escape(', '.join(examples))})[/]" if examples else ""
    return f"[bold]{named(finding['check'])}[/]: {escape(finding['text'])}{where}"


def named(check: str) -> str:
    """Return the name of a check in words."""
    return check.replace("_", " ")
