"""Results of two runs, byte by byte, but for what holds times."""

from pathlib import Path

TIMED = (
    # How long something took.
    "trials/*/seed-*/train.json",
    "trials/*/seed-*/score.json",
    "bases/*/score.json",
    "references/*/*.json",
    # What shows such a time.
    "tables/cost.*",
    "tables/seeds.*",
    "tables/sft.*",
    "figures/quality.*",
    "report.html",
    # When, and on what machine.
    "**/*provenance.json",
)


def differing(one: Path, other: Path) -> list[str]:
    """Returns the paths of files that are in one folder of results alone, or differ in the two.

    What holds times need only be there.
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
