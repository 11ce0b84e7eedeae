"""The CSV columns of a metric, for the tables of ratings."""

from scripts.report.read import INTERVALS, Figure
from scripts.report.render import Raw


def figure_names(key: str) -> tuple[str, ...]:
    """Returns the CSV columns of a figure."""
    bounds = [
        f"{key}_{method.replace(' ', '_')}_{bound}"
        for method in INTERVALS
        for bound in ("low", "high")
    ]
    return (key, f"{key}_sd", f"{key}_n", f"{key}_groups", *bounds)


def figure_values(found: Figure) -> tuple[Raw, ...]:
    """Returns the values of the CSV columns of a figure."""
    bounds = [bound for method in INTERVALS for bound in found.interval(method)]
    return (found.value, found.sd, found.n, found.groups, *bounds)
