"""What `prefmake doctor` prints: the findings on each dataset, the worst first."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.terminal.console import grid, terminal

if TYPE_CHECKING:
    from rich.text import Text

Finding = dict[str, Any]

COLORS = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
"""Severities, the worst first."""
EXAMPLES = 3


def show(files: list[Path]) -> None:
    """Print a table for each file that scripts.data.doctor wrote. Raise BadInput for any other."""
    from rich.text import Text

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
        name = Text(content["name"], style="bold")
        console.print(name.append(f" ({rows}): {counts}", style="not bold"), soft_wrap=True)

        found = [finding for finding in content["findings"] if finding["severity"] != "ok"]
        table = grid(("severity", "split", "count", "what it means"), ("what it means",))
        for finding in sorted(found, key=lambda finding: list(COLORS).index(finding["severity"])):
            severity = finding["severity"]
            table.add_row(
                Text(severity, style=COLORS[severity]),
                finding["split"] or "",
                f"{finding['count']:,} of {finding['of']:,}",
                meaning(finding),
            )
        if found:
            console.print(table)
        checks = dict.fromkeys(finding["check"] for finding in content["findings"])
        clean = [named(check) for check in checks if all(it["check"] != check for it in found)]
        console.print(Text("ok", COLORS["ok"]), f": {', '.join(clean) or 'none'}\n", sep="")
        for row in content.get("shown", ()):
            console.print(as_learned(row), "\n", soft_wrap=True, sep="")


def as_learned(row: dict[str, Any]) -> "Text":
    """Return a row as a model sees it; what it learns is bold, between brackets."""
    from rich.text import Text

    text = Text(f"{row['id']}, {row['of']}; ⟦learned⟧:\n", style="dim")
    for part, learned in row["texts"]:
        text.append(
            f"⟦{part}⟧" if learned else part, style="not dim bold" if learned else "not dim"
        )
    return text


def meaning(finding: Finding) -> "Text":
    """Return a finding's check, sentence and first examples as one cell."""
    from rich.text import Text

    examples = finding["examples"][:EXAMPLES]
    if examples and finding["count"] > len(examples):
        examples = [*examples, "…"]
    text = Text(named(finding["check"]), style="bold")
    text.append(f": {finding['text']}", style="not bold")
    if examples:
        text.append(f" ({', '.join(examples)})", style="not bold dim")
    return text


def named(check: str) -> str:
    """Return the name of a check in words."""
    return check.replace("_", " ")
