"""Prints the whole path from a result back to its sources: jobs, commits, code, envs, seeds, rows.

    python -m scripts.provenance.trace results/demo/tables/dpo.csv
    python -m scripts.provenance.trace results/demo/tables/dpo.csv --row dpo-r16 \\
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
from scripts.provenance.cell import Behind, Cell, find_cell
from scripts.provenance.chain import Job, digest_now, maker_of, shown_path
from scripts.provenance.record import Part, below

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
    doubted: dict[Path, bool] = field(default_factory=dict)
    """Of a job's provenance, whether there is a mark on anything that the job read."""

    def grow(self, tree: "Tree", job: Job, parts: list[Part]) -> None:
        """Adds a job, by what is wanted of it, and the whole path behind it."""
        again = job.path in self.seen
        branch = tree.add(_job_text(job, parts, again))
        if again:
            return
        self.seen.add(job.path)
        for line in _origins(job):
            branch.add(line)
        makers, others = self._read_by(job)
        for part in others:
            branch.add(_other_text(job, part))
        for kind in _alike(makers):
            self._grow_kind(branch, kind, makers)

    def _read_by(self, job: Job) -> tuple[dict[Job, list[Part]], list[Part]]:
        """Returns what the path goes through of what a job read: by maker, and without one."""
        makers: dict[Job, list[Part]] = defaultdict(list)
        others = []
        for part in job.inputs:
            if self.follow(job, part):
                maker = job.maker(part)
                if maker is None:
                    others.append(part)
                else:
                    # What was published is read from another folder than the one it was made in.
                    own = below(job.at(part), maker.results)
                    makers[maker].append(part | {"file": own})
        return makers, others

    def _grow_kind(self, branch: "Tree", kind: list[Job], makers: dict[Job, list[Part]]) -> None:
        """Adds the jobs of a rule, of many a few: those with marks first, or they would hide."""
        if self.whole or len(kind) <= 2 * FEW:
            shown, hidden, marked = kind, [], 0
        else:
            doubted = {job: self._is_doubted(job, makers[job]) for job in kind}
            ordered = sorted(kind, key=lambda job: not doubted[job])
            shown, hidden = ordered[:FEW], ordered[FEW:]
            marked = sum(doubted[job] for job in hidden)
        for maker in shown:
            self.grow(branch, maker, makers[maker])
        if hidden:
            branch.add(_more_text(f"{len(hidden)} more jobs of {kind[0].rule}", marked))

    def _is_doubted(self, job: Job, parts: list[Part]) -> bool:
        """Tells whether there is a mark on a job, or on anything behind it."""
        if any(marks(job, parts)):
            return True
        if job.path not in self.doubted:
            makers, others = self._read_by(job)
            self.doubted[job.path] = any(
                mark for part in others for mark in other_marks(job, part)
            ) or any(self._is_doubted(maker, wanted) for maker, wanted in makers.items())
        return self.doubted[job.path]


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
    # Marks stand here again: what is wanted of it now may be another file, read by another job.
    how = "  (above)" if again else f"\n{made_with(job)}"
    text.append(how, style="dim not bold")
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


def _other_text(job: Job, part: Part) -> "Text":
    """Returns in words a file whose maker is not known: a source, or one that lost its link."""
    from rich.text import Text

    path = shown_path(job.at(part))
    text = Text(path, style="red") if lost(part) else Text(f"source {path}", style="green")
    text.append(f"  {part['sha256'][:12]}, {part['bytes']:,} bytes", style="dim")
    for mark in other_marks(job, part):
        text.append(f"\n{mark}", style="red")
    return text


def lost(part: Part) -> str | None:
    """Returns why a file whose maker is not known is no source, in words; None of a source."""
    if "made_by" in part:
        return f"made by {part['made_by']['file']}, which is gone"
    return None if part.get("outside") else "no job says that it made it"


def other_marks(job: Job, part: Part) -> Iterator[str]:
    """Yields what should make a reader doubt a file whose maker is not known."""
    why, now = lost(part), digest_now(str(job.at(part)))
    if why:
        yield f"broken link: {why}"
    if now != part["sha256"]:
        yield "not here" if now is None else "changed since"


def _more_text(what: str, marked: int) -> "Text":
    """Returns in words how many jobs are not shown, and on how many of them marks are missed."""
    from rich.text import Text

    text = Text(f"… and {what} (ALL=yes)")
    if marked:
        text.append(f"\n{marked} of them with marks, their own or of what is behind", style="red")
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
        prog="python -m scripts.provenance.trace",
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
