"""Prints the whole path from a result back to its sources: jobs, commits, code, envs, seeds, rows.

    python -m scripts.report.trace results/demo/tables/dpo.csv
    python -m scripts.report.trace results/demo/tables/dpo.csv --row dpo-r16 \\
        --column "preference accuracy"

With a row and a column it is the path of that one cell, with the source's rows behind it.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json
from scripts.common.provenance import Part
from scripts.report.cell import Behind, Cell, find_cell
from scripts.report.chain import Job, digest_now, maker_of, shown_path

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

FEW = 5
"""How many of many that are alike are shown, unless all are asked for."""

WIDE = 10_000
"""Columns that hold every line."""

Follow = Callable[[Job, Part], bool]
"""Tells whether a path goes through one of a job's inputs."""


@dataclass
class Tracer:
    """A path on its way to the terminal."""

    follow: Follow
    whole: bool
    """Whether all of many that are alike are shown."""
    seen: set[Path] = field(default_factory=set)

    def grow(self, tree: "Tree", job: Job, parts: list[Part]) -> None:
        """Adds a job, by what is wanted of it, and the whole path behind it."""
        branch = tree.add(_job_text(job, parts, again=job.path in self.seen))
        if job.path in self.seen:
            return
        self.seen.add(job.path)
        for line in _origins(job):
            branch.add(line)
        makers: dict[Job, list[Part]] = defaultdict(list)
        for part in job.inputs:
            if self.follow(job, part):
                maker = job.maker(part)
                if maker is None:
                    branch.add(_source_text(job, part))
                else:
                    makers[maker].append(part)
        for kind in _alike(makers):
            shown = kind if self.whole or len(kind) <= 2 * FEW else kind[:FEW]
            for maker in shown:
                self.grow(branch, maker, makers[maker])
            if len(shown) < len(kind):
                branch.add(f"… and {len(kind) - FEW} more jobs of {kind[0].rule} (ALL=yes)")


def _alike(makers: dict[Job, list[Part]]) -> Iterator[list[Job]]:
    """Yields the jobs of each rule."""
    by_rule: dict[str, list[Job]] = defaultdict(list)
    for job in makers:
        by_rule[job.rule].append(job)
    yield from by_rule.values()


def _job_text(job: Job, parts: list[Part], again: bool) -> "Text":
    """Returns a job in words: what is wanted of it, and how it was made."""
    from rich.text import Text

    text = Text(job.rule, style="bold")
    text.append(" → " + ", ".join(part["file"] for part in parts), style="not bold")
    if again:
        return text.append("  (above)", style="dim not bold")
    text.append(f"\n{made_with(job)}", style="dim not bold")
    for mark in marks(job, parts):
        text.append(f"\n{mark}", style="red")
    return text


def made_with(job: Job) -> str:
    """Returns in one line when a job ran, and on which commit, code, env and seeds."""
    content = job.content
    git, code, env = content["git"], content["code"], content["env"]
    commit = "no git" if git is None else f"commit {(git['commit'] or 'none')[:10]}"
    dirty = " + uncommitted changes" if git and git["dirty"] else ""
    module = f"{code['module']} {code['digest']}" if code["module"] else "no module"
    seeds = ", ".join(f"{name} {seed}" for name, seed in content["seeds"].items())
    gpus = content["machine"]["gpus"]
    parts = [
        content["started"][:19].replace("T", " "),
        commit + dirty,
        module,
        f"env {env['form']} {env['digest'][:8]}",
        seeds,
        f"{gpus[0]['name']}, driver {gpus[0]['driver_version']}" if gpus else "",
    ]
    return " · ".join(filter(None, parts))


def marks(job: Job, parts: list[Part]) -> Iterator[str]:
    """Yields what should make a reader doubt a job, or what it made."""
    content = job.content
    if content["env"]["drift"]:
        yield f"ran in another env: {'; '.join(content['env']['drift'])}"
    if content["code"]["edited"]:
        yield f"edited while it ran: {', '.join(content['code']['edited'])}"
    made = {part["file"]: part["sha256"] for part in job.outputs}
    for part in parts:
        now = digest_now(str(job.results / part["file"]))
        if now is None:
            yield f"not here: {part['file']}"
        elif now != made[part["file"]]:
            yield f"changed since: {part['file']}"
        if part.get("sha256", made[part["file"]]) != made[part["file"]]:
            yield f"broken link: {part['file']} was read with other content than this job made"


def _origins(job: Job) -> Iterator[str]:
    """Yields where a job got what it fetched from: a repository at a commit, or files."""
    for part in job.outputs:
        path = job.at(part)
        if path.name in ("raw.json", "manifest.json") and path.is_file():
            origin = read_json(path)
            if origin.get("repository"):
                yield f"hub {origin['repository']} at commit {origin['commit']}"
    yield from (f"template {name} {digest[:12]}" for name, digest in _own_templates(job))


def _own_templates(job: Job) -> Iterator[tuple[str, str]]:
    """Yields the templates that a job rendered with, where it rendered."""
    if job.rule in ("tokenize", "examine", "judge"):
        yield from job.content["templates"].items()


def _source_text(job: Job, part: Part) -> "Text":
    """Returns a file that no job made, in words."""
    from rich.text import Text

    text = Text(f"source {shown_path(job.at(part))}", style="green")
    text.append(f"  {part['sha256'][:12]}, {part['bytes']:,} bytes", style="dim")
    now = digest_now(str(job.at(part)))
    if now != part["sha256"]:
        text.append("\nnot here" if now is None else "\nchanged since", style="red")
    return text


def behind_lines(behind: Behind, whole: bool) -> Iterator[str]:
    """Yields how many items a figure is of, and which rows of the source they are."""
    groups = len(set(behind.groups))
    yield f"{len(behind.ids)} items in {groups} groups, rows of {behind.file}"
    shown = len(behind.ids) if whole or len(behind.ids) <= 2 * FEW else FEW
    for name, group in zip(behind.ids[:shown], behind.groups[:shown], strict=True):
        split, _, index = name.rpartition("-")
        where = f"row {int(index) + 1} of the source's split {split}" if index.isdigit() else ""
        yield f"{name}, {where}, group {group}"
    if shown < len(behind.ids):
        yield f"… and {len(behind.ids) - shown} more (ALL=yes)"


def trace(item: Path, cell: Cell | None, whole: bool) -> "Tree":
    """Returns the tree of an item, or of one cell of it.

    Raises
    ------
    BadInput
        When there is no such file, or no provenance that names it.
    """
    from rich.text import Text
    from rich.tree import Tree

    if not item.is_file():
        raise BadInput(f"{item}: no such file")
    job = maker_of(item)
    if job is None:
        raise BadInput(f"{item}: no *.provenance.json beside it names it; jobs write that")
    part = next(part for part in job.outputs if job.at(part) == Path(item).absolute())
    head = Text(shown_path(item), style="bold")
    tree = Tree(head)
    if cell is not None:
        value = cell.row[cell.column] or "empty"
        head.append(f"\n{cell.called}: {cell.column} = {value}", style="bold")
        for behind in cell.behind():
            first, *rest = behind_lines(behind, whole)
            branch = tree.add(first)
            for line in rest:
                branch.add(line)
    follow = cell.leads_to if cell is not None else _everything
    Tracer(follow, whole).grow(tree, job, [part])
    return tree


def _everything(job: Job, part: Part) -> bool:
    return True


def table_of(item: Path) -> Path:
    """Returns the CSV of a table, whichever of its files is named."""
    return item.with_suffix(".csv")


def main(argv: list[str] | None = None) -> int:
    """Prints the path; returns 0. Raises BadInput for an item or a cell that there is not."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.report.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("item", type=Path, help="a table, a figure or any other result")
    parser.add_argument("--row", help="of a table: a trial, and a set or seed where that is needed")
    parser.add_argument("--column", help="of a table: a column, or a figure")
    parser.add_argument("--all", action="store_true", help="all of many that are alike")
    arguments = parser.parse_args(argv)
    item, row, column = arguments.item, arguments.row, arguments.column
    if (row is None) != (column is None):
        raise BadInput("a cell needs both, a row and a column")
    cell = None if row is None else find_cell(table_of(item), row, column)

    from rich.console import Console

    console = Console()
    # In a file or a pipe a line is a line.
    options = {} if console.is_terminal else {"width": WIDE}
    Console(**options).print(trace(item, cell, arguments.all))
    return 0


if __name__ == "__main__":
    run(main)
