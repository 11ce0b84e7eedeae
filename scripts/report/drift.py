"""What was made with other packages than its env's lock names, which a run must allow."""

from collections.abc import Iterable

from scripts.provenance.record import SUFFIX, Job, maker
from scripts.report.read import Subject

FEW = 3
"""How many jobs a note names."""


def drift_notes(subjects: Iterable[Subject]) -> list[str]:
    """Returns the note below a table of what ran in another env, if anything did."""
    found = [(subject.label, jobs) for subject in subjects if (jobs := drifted(subject))]
    if not found:
        return []
    jobs = list(dict.fromkeys(job for _, those in found for job in those))
    more = f" and {len(jobs) - FEW} more" if len(jobs) > FEW else ""
    names = ", ".join(dict.fromkeys(name for name, _ in found))
    return [
        "Env drift: jobs behind these rows ran with other packages than their env's lock names "
        f"(allow_env_drift), as their provenance says: {names} ({', '.join(jobs[:FEW])}{more})."
    ]


def drifted(subject: Subject) -> list[str]:
    """Returns the jobs behind a subject's figures that ran in another env, by their provenance."""
    made = maker(str(subject.root / subject.folder / "metrics.json"))
    return [] if made is None else [file.removesuffix(SUFFIX) for file in _drifted(made)]


def _drifted(made: Job) -> list[str]:
    own = [made.link["file"]] if made.content["env"]["drift"] else []
    return [*made.content["drift_behind"], *own]
