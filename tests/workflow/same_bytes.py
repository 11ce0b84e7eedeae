"""Compare the results of two runs byte by byte, except for files with times."""

from pathlib import Path

TIMED = (
    # Files with durations.
    "trials/*/seed-*/train.json",
    "trials/*/seed-*/score.json",
    "bases/*/score.json",
    "references/*/*.json",
    # Files that show such a duration.
    "tables/cost.*",
    "tables/seeds.*",
    "tables/sft.*",
    "figures/quality.*",
    "report.html",
    # Start time and machine.
    "**/*provenance.json",
)


def differing(one: Path, other: Path) -> list[str]:
    """Return the paths of files that are in only one of two folders of results, or differ.

    Files with times need only exist.
    """
    names, others = (
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    )
    timed = {str(path.relative_to(one)) for pattern in TIMED for path in one.glob(pattern)}
    same = {
        name
        for name in names & others
        if name in timed or (one / name).read_bytes() == (other / name).read_bytes()
    }
    return sorted((names | others) - same)
