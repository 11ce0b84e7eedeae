"""What was made with other packages than its env's lock names, which a run must allow."""

from pathlib import Path

from scripts.provenance.record import SUFFIX, maker
from scripts.report.results import Results

FEW = 3
"""How many jobs a note names."""


def drift_notes(results: Results) -> list[str]:
    """Return the note below a table on what ran in another env, if anything did."""
    models = results.models[["label", "folder"]].itertuples(index=False)
    found = [(label, jobs) for label, folder in models if (jobs := drifted(results.root, folder))]
    if not found:
        return []
    jobs = list(dict.fromkeys(job for _, those in found for job in those))
    more = f" and {len(jobs) - FEW} more" if len(jobs) > FEW else ""
    names = ", ".join(dict.fromkeys(name for name, _ in found))
    return [
        "Env drift: jobs behind these rows ran with other packages than their env's lock names "
        f"(allow_env_drift), as their provenance says: {names} ({', '.join(jobs[:FEW])}{more})."
    ]


def drifted(root: Path, folder: str) -> list[str]:
    """Return the jobs behind a model's metrics that ran in another env, by their provenance."""
    made = maker(str(root / folder / "metrics.json"))
    if made is None:
        return []
    own = [made.link["file"]] if made.content["env"]["drift"] else []
    return [file.removesuffix(SUFFIX) for file in (*made.content["drift_behind"], *own)]
