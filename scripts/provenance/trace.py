"""Print the path from a result back to its sources: jobs, commits, code, envs, seeds and rows.

For a cell of a table, the path is that of the cell alone, with the rows of the source behind it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.provenance.cell import Behind, Cell, find_cell
from scripts.provenance.record import Job, Part, below, digest_now, maker, shown_path
from scripts.terminal.console import terminal

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

FEW = 5
"""How many of many similar jobs or rows are shown, unless all are asked for."""
WIDE = 10_000
"""A width in columns that holds every line."""
RENDERED = ("tokenize", "examine", "judge")
"""The rules whose jobs render templates."""

Follow = Callable[[Job, Part], bool]
"""Return True if the path goes through an input of a job."""


def show(
    item: Path, row: str | None = None, column: str | None = None, whole: bool = False
) -> None:
    """Print the path behind a result, or behind the cell of a table.

    Parameters
    ----------
    item
        A table, a figure or any other file of the results. For a cell, any of the table's files.
    row, column
        The cell, as `find_cell` understands it.
    whole
        Show all of many similar jobs and rows.

    Raises
    ------
    BadInput
        If there is no such file, record or cell.
    """
    if (row is None) != (column is None):
        raise BadInput("a cell needs both a row and a column")
    cell = (
        None if row is None or column is None else find_cell(item.with_suffix(".csv"), row, column)
    )
    # Lines are not wrapped in a file or a pipe.
    terminal(WIDE).print(trace(item, cell, whole))


def trace(item: Path, cell: Cell | None, whole: bool) -> "Tree":
    """Return the tree of jobs behind an item, or behind one of its cells. Raises as `show` does."""
    from rich.text import Text
    from rich.tree import Tree

    if not item.is_file():
        raise BadInput(f"{item}: no such file")
    job = maker(item)
    if job is None:
        raise BadInput(f"{item}: no *.provenance.json beside it names it; jobs write that")
    part = next(part for part in job.outputs if job.at(part) == item.absolute())
    head = Text(shown_path(item), style="bold")
    tree = Tree(head)
    if cell is not None:
        value = cell.row[cell.column] or "empty"
        head.append(f"\n{cell.label}: {cell.column} = {value}", style="bold")
        for behind in cell.behind():
            first, *rest = behind_lines(behind, whole)
            branch = tree.add(first)
            for line in rest:
                branch.add(line)
    follow = cell.leads_to if cell is not None else lambda job, part: True
    Tracer(follow, whole).grow(tree, job, [part])
    return tree


@dataclass
class Tracer:
    """Add jobs to a tree, each job's inputs once."""

    follow: Follow
    whole: bool
    """Show all of many similar jobs."""
    seen: set[Path] = field(default_factory=set)
    doubted: dict[Path, bool] = field(default_factory=dict)
    """By record, whether there is a mark on anything behind the job."""

    def grow(self, tree: "Tree", job: Job, parts: list[Part]) -> None:
        """Add a job with those of its outputs that are wanted, and the whole path behind it."""
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
        by_rule: dict[str, list[Job]] = defaultdict(list)
        for made in makers:
            by_rule[made.rule].append(made)
        for similar in by_rule.values():
            self._grow_similar(branch, similar, makers)

    def _read_by(self, job: Job) -> tuple[dict[Job, list[Part]], list[Part]]:
        """Return the inputs that the path goes through, by their maker, and those without one."""
        makers: dict[Job, list[Part]] = defaultdict(list)
        others = []
        for part in job.inputs:
            if self.follow(job, part):
                made = job.maker(part)
                if made is None:
                    others.append(part)
                else:
                    # Published files lie in another folder than the one that they were made in.
                    own = below(job.at(part), made.results)
                    makers[made].append(part | {"file": own})
        return makers, others

    def _grow_similar(self, branch: "Tree", jobs: list[Job], makers: dict[Job, list[Part]]) -> None:
        """Add the jobs of one rule. Of many, a few: those with marks first, or they might hide."""
        if self.whole or len(jobs) <= 2 * FEW:
            shown, hidden, marked = jobs, [], 0
        else:
            doubted = {job: self._is_doubted(job, makers[job]) for job in jobs}
            ordered = sorted(jobs, key=lambda job: not doubted[job])
            shown, hidden = ordered[:FEW], ordered[FEW:]
            marked = sum(doubted[job] for job in hidden)
        for job in shown:
            self.grow(branch, job, makers[job])
        if hidden:
            branch.add(_more_text(f"{len(hidden)} more jobs of {jobs[0].rule}", marked))

    def _is_doubted(self, job: Job, parts: list[Part]) -> bool:
        """Return True if there is a mark on a job or on anything behind it."""
        if any(marks(job, parts)):
            return True
        if job.path not in self.doubted:
            makers, others = self._read_by(job)
            self.doubted[job.path] = any(
                mark for part in others for mark in other_marks(job, part)
            ) or any(self._is_doubted(made, wanted) for made, wanted in makers.items())
        return self.doubted[job.path]


def _job_text(job: Job, parts: list[Part], again: bool) -> "Text":
    """Return a job's rule, the outputs that are wanted, how it ran, and the marks on it."""
    from rich.text import Text

    text = Text(job.rule, style="bold")
    text.append(" → " + ", ".join(part["file"] for part in parts), style="not bold")
    # Marks are repeated: this time another output may be wanted, by another job.
    how = "  (above)" if again else f"\n{made_with(job)}"
    text.append(how, style="dim not bold")
    for mark in marks(job, parts):
        text.append(f"\n{mark}", style="red")
    return text


def made_with(job: Job) -> str:
    """Return in one line when a job ran, and its commit, code, env, seeds and GPU."""
    content = job.content
    git, code, env = content["git"], content["code"], content["env"]
    commit = "no git" if git is None else f"commit {(git['commit'] or 'none')[:10]}"
    dirty = " + uncommitted changes" if git and git["dirty"] else ""
    gpus = content["machine"]["gpus"]
    parts = [
        content["started"][:19].replace("T", " "),
        commit + dirty,
        f"{code['module']} {code['digest']}" if code["module"] else "no module",
        f"env {env['form']} {env['digest'][:8]}",
        ", ".join(f"{name} {seed}" for name, seed in content["seeds"].items()),
        f"{gpus[0]['name']}, driver {gpus[0]['driver_version']}" if gpus else "",
    ]
    return " · ".join(filter(None, parts))


def marks(job: Job, parts: list[Part]) -> Iterator[str]:
    """Yield reasons to doubt a job, or those of its outputs that are wanted."""
    content = job.content
    if content["env"]["drift"]:
        yield f"ran in another env: {'; '.join(content['env']['drift'])}"
    if content["code"]["edited"]:
        yield f"edited while it ran: {', '.join(content['code']['edited'])}"
    made = {part["file"]: part["sha256"] for part in job.outputs}
    for part in parts:
        now = digest_now(str(job.at({"file": part["file"]})))
        if now is None:
            yield f"not here: {part['file']}"
        elif now != made[part["file"]]:
            yield f"changed since: {part['file']}"
        if part.get("sha256", made[part["file"]]) != made[part["file"]]:
            yield f"broken link: {part['file']} was read with other content than this job made"


def _origins(job: Job) -> Iterator[str]:
    """Yield the repository and commit that a job fetched, and the templates that it rendered."""
    for origin in job.origins:
        commit = origin["commit"]
        at = f"at commit {commit}" if commit else "from a folder in its place, without a commit"
        yield f"hub {origin['repository']} {at}"
    for name, digest in job.content["templates"].items() if job.rule in RENDERED else ():
        yield f"template {name} {digest[:12]}"


def _other_text(job: Job, part: Part) -> "Text":
    """Return in words a file without a known maker: a source, or a file whose record is gone."""
    from rich.text import Text

    path = shown_path(job.at(part))
    text = Text(path, style="red") if lost(part) else Text(f"source {path}", style="green")
    text.append(f"  {part['sha256'][:12]}, {part['bytes']:,} bytes", style="dim")
    for mark in other_marks(job, part):
        text.append(f"\n{mark}", style="red")
    return text


def lost(part: Part) -> str | None:
    """Return why a file without a known maker is not a source, in words, or None if it is one."""
    if "made_by" in part:
        return f"made by {part['made_by']['file']}, which is gone"
    return None if part.get("outside") else "no job says that it made it"


def other_marks(job: Job, part: Part) -> Iterator[str]:
    """Yield reasons to doubt a file without a known maker."""
    why, now = lost(part), digest_now(str(job.at(part)))
    if why:
        yield f"broken link: {why}"
    if now != part["sha256"]:
        yield "not here" if now is None else "changed since"


def _more_text(what: str, marked: int) -> "Text":
    """Return in words how many jobs are hidden, and on how many of them there are marks."""
    from rich.text import Text

    text = Text(f"… and {what} (--all shows them)")
    if marked:
        text.append(f"\n{marked} of them with marks, their own or on what is behind", style="red")
    return text


def behind_lines(behind: Behind, whole: bool) -> Iterator[str]:
    """Yield the number of items behind a metric, and which rows of the source they are."""
    yield f"{len(behind.ids)} items in {len(set(behind.groups))} groups, rows of {behind.file}"
    shown = len(behind.ids) if whole or len(behind.ids) <= 2 * FEW else FEW
    for name, group in zip(behind.ids[:shown], behind.groups[:shown], strict=True):
        split, _, index = name.rpartition("-")
        where = f"row {int(index) + 1} of the source's split {split}" if index.isdigit() else ""
        yield f"{name}, {where}, group {group}"
    if shown < len(behind.ids):
        yield f"… and {len(behind.ids) - shown} more (--all shows them)"
