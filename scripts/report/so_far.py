"""What a table says beside its figures before all of its trials are done."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.common.states import DONE, FAILED
from scripts.report.read import RUN, Subject, log_of
from scripts.report.render import Column, Table, shown


def so_far(table: Table, logs: Path) -> Table:
    """Returns the table with a column of states behind the seeds, and a note on what lacks.

    A table without seeds is not of trials, and stays as it is.
    """
    seeds = [place for place, it in enumerate(table.columns) if {"seed", "seeds"} & set(it.names)]
    if not seeds:
        return table
    place = seeds[0] + 1
    column = replace(state_column(logs), once=table.columns[seeds[0]].once)
    columns = (*table.columns[:place], column, *table.columns[place:])
    subjects = {it.folder: it for row in table.rows if (it := subject_of(row)) is not None}
    notes = state_notes(list(subjects.values()), logs)
    return replace(table, columns=columns, notes=[*notes, *table.notes])


def subject_of(row: Any) -> Subject | None:
    """Returns what a row is about; None where it is nothing of the plan."""
    return row if isinstance(row, Subject) else row.subject


def state_column(logs: Path) -> Column:
    """Returns the column of states; the CSV has the reason and the log of a failure too."""

    def values(row: Any) -> tuple[str | None, ...]:
        subject = subject_of(row)
        if subject is None:
            return (None, None, None)
        log = log_of(subject, logs)
        return (subject.state.word, subject.state.reason, log and log.as_posix())

    return Column(
        "State",
        text=lambda row: shown(values(row)[0], str),
        names=("state", "reason", "log"),
        values=values,
        align="l",
    )


def state_notes(subjects: list[Subject], logs: Path) -> list[str]:
    """Returns why each failed trial failed, and what else is not done."""
    failed = [
        f"{name_of(it)}, failed: {it.state.reason}. Log: {log_of(it, logs).as_posix()}"
        for it in subjects
        if it.state.word == FAILED
    ]
    others: dict[str, list[str]] = {}
    for it in subjects:
        if it.state.word not in (DONE, FAILED):
            others.setdefault(it.state.word, []).append(name_of(it))
    return [*failed, *(f"{word.capitalize()}: {'; '.join(them)}." for word, them in others.items())]


def name_of(subject: Subject) -> str:
    """Returns what to call what is not done: a trial with the seed that is not."""
    found = RUN.match((subject.undone_folder or "").removeprefix("trials/"))
    return f"{found[1]}, seed {found[2]}" if found else f"{subject.name} of {subject.experiment}"
