"""The table of the differences: two models, a figure, and whether a paired test shows a difference.

    python -m scripts.report.differences --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv differences.csv --md differences.md --tex differences.tex
"""

from dataclasses import dataclass
from typing import Any

from scripts.common.cli import run
from scripts.report.columns import said_once
from scripts.report.command import write_table
from scripts.report.read import (
    HEADLINES,
    LABELS,
    METHODS,
    TRAINED,
    Comparison,
    Subject,
    comparisons_of,
    label_of,
)
from scripts.report.render import Column, Show, Table, count, decimals, shown, shown_interval

Test = dict[str, Any]

LEAST_P = 0.0001
NAMES = 6
"""So many names stand in a sentence."""

NO_DIFFERENCE = "no difference shown"
RULES = {
    "all": "each with each other",
    "leading": "more than ten, so each with the leading one, which was picked on the same items: "
    "its p-values are on the low side",
}


@dataclass(frozen=True)
class Line:
    """One test of an experiment's comparison."""

    comparison: Comparison
    test: Test

    def at(self, key: str) -> Any:
        return self.test[key]

    @property
    def holds(self) -> bool:
        """Whether a difference is shown."""
        return self.test["shown"]

    @property
    def verdict(self) -> str:
        """What the test shows, in words."""
        if not self.holds:
            return NO_DIFFERENCE
        return "A higher" if self.test["difference"] > 0 else "B higher"


# ----------------------------------------------------------------------------------------- columns


def lines_of(comparisons: list[Comparison]) -> list[Line]:
    """Returns the tests of every experiment; what readers look at first stands first."""
    return [
        Line(comparison, test)
        for comparison in comparisons
        for test in sorted(comparison.tests, key=_rank)
    ]


def _rank(test: Test) -> int:
    """Returns the place of a test's figure; a sort keeps the file's order of the rest."""
    keys = [*HEADLINES, *(key for key in LABELS if key not in HEADLINES)]
    return keys.index(test["metric"]) if test["metric"] in keys else len(keys)


def _p(value: float) -> str:
    return f"<{LEAST_P:.4f}" if value < LEAST_P else decimals(4)(value)


def _difference(line: Line) -> str:
    show: Show = decimals(4 if "loss" in line.at("metric") else 3)
    bounds = line.at("interval")
    text = show(line.at("difference"))
    return text if bounds is None else f"{text} {shown_interval(tuple(bounds), show)}"


def _seeds(line: Line) -> str:
    a, b = line.at("seeds")
    return count(a) if a == b else f"{a}, {b}"


def words(header: str, key: str) -> Column:
    """Returns a column of words of a test."""
    return Column(
        header, lambda line: shown(line.at(key), str), (key,), lambda line: (line.at(key),), "l"
    )


def number(header: str, key: str, show: Show) -> Column:
    """Returns a column of numbers of a test."""
    return Column(
        header, lambda line: shown(line.at(key), show), (key,), lambda line: (line.at(key),)
    )


COLUMNS = (
    Column(
        "Experiment",
        text=lambda line: line.comparison.title,
        names=("experiment", "title"),
        values=lambda line: (line.comparison.experiment, line.comparison.title),
        align="l",
    ),
    Column(
        "Figure",
        text=lambda line: label_of(line.at("metric")),
        names=("figure",),
        values=lambda line: (line.at("metric"),),
        align="l",
    ),
    words("Prompts", "set"),
    Column(
        "A",
        text=lambda line: line.at("a"),
        names=("kind", "method", "a"),
        values=lambda line: (line.at("kind"), line.at("method"), line.at("a")),
        align="l",
    ),
    words("B", "b"),
    Column(
        "A − B\n[95 %]",
        text=_difference,
        names=("value_a", "value_b", "difference", "interval_low", "interval_high"),
        values=lambda line: (
            line.at("value_a"), line.at("value_b"), line.at("difference"),
            *(line.at("interval") or (None, None)),
        ),
    ),
    number("p", "p", _p),
    Column(
        "Holm p",
        text=lambda line: _p(line.at("holm")),
        names=("holm_p",),
        values=lambda line: (line.at("holm"),),
    ),
    number("n", "n", count),
    number("Groups", "groups", count),
    Column(
        "Seeds",
        text=_seeds,
        names=("seeds_a", "seeds_b"),
        values=lambda line: tuple(line.at("seeds")),
    ),
    words("Test", "test"),
    Column(
        "Verdict",
        text=lambda line: line.verdict,
        names=("verdict",),
        values=lambda line: (line.verdict,),
        align="l",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------------------------- notes

NOTES = [
    "A − B: of the means over seeds; 95 % bootstrap interval, groups drawn for both together and "
    "seeds for each side of its own.",
    "Test, two-sided, on the same items: sign flips swap A and B group by group and count how "
    "often the difference is as large; all ways where at most twelve groups differ, else 10,000 "
    "drawn ones (40 a test where there are more than 250, of those that the first 10,000 leave "
    "below 0.1), of which the least p is 1 / 10,001. "
    "McNemar where every item is a group of its own and a success or a failure. Ties count half. "
    "Items' scores are averaged over seeds: a test is of the items, and tells nothing of other "
    "seeds.",
    "Holm p: corrected for all tests of one figure in the experiment, since who looks for the "
    "trial that leads in a figure looks at all of them. A difference is shown below 0.05; with "
    "several seeds only where the interval leaves out 0, too.",
]


def notes_of(comparisons: list[Comparison]) -> list[str]:
    """Returns how the pairs were chosen, and what is not compared and why."""
    rules = [
        (f"{comparison.experiment}, {METHODS[method]}", RULES[rule])
        for comparison in comparisons
        for method in TRAINED
        if (rule := comparison.says("pairs")[method])
    ]
    never = {
        ", ".join(part["metrics"]): part["reason"]
        for comparison in comparisons
        for part in comparison.says("never_compared")
    }
    left_out = [
        f"{one['model']} in {label_of(one['metric'])} ({one['reason']})"
        for comparison in comparisons
        for one in comparison.says("left_out")
    ]
    return [
        "Pairs: trials with the base, preference trials with their start"
        + (f", and trials of a method: {said_once(rules)}." if rules else "."),
        "Starts are scored on no pairs: their policy accuracy is that of their trials' reference.",
        *([f"Never compared: {_joined(never)}."] if never else []),
        *([f"Left out: {_listed(left_out)}."] if left_out else []),
    ]


def _joined(reasons: dict[str, str]) -> str:
    return "; ".join(f"{names} ({reason})" for names, reason in reasons.items())


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


# --------------------------------------------------------------------------------------- sentences


def sentences(comparison: Comparison) -> str:
    """Returns in two sentences which differences of an experiment hold, of the first figures.

    Empty where none of them was tested.
    """
    lines = [line for line in lines_of([comparison]) if line.at("metric") in HEADLINES]
    if not lines:
        return ""
    places = dict.fromkeys((line.at("metric"), line.at("set")) for line in lines)
    tuned = [_against_base(lines, *place) for place in places]
    leading = [_leading(one) for one in comparison.leading if one["metric"] in HEADLINES]
    parts = [("", tuned), ("Among the trials of a method, ", leading)]
    texts = [f"{opening}{'; '.join(filter(None, found))}" for opening, found in parts if any(found)]
    return f"{comparison.title}: {'. '.join(texts)}."


def _name(figure: str, set_name: str | None) -> str:
    return label_of(figure) + (f" ({set_name})" if set_name else "")


def _against_base(lines: list[Line], figure: str, set_name: str | None) -> str:
    mine = [
        line
        for line in lines
        if (line.at("kind"), line.at("metric"), line.at("set")) == ("base", figure, set_name)
    ]
    if not mine:
        return ""
    sides = {
        "above the base": [it.at("a") for it in mine if it.verdict == "A higher"],
        "below the base": [it.at("a") for it in mine if it.verdict == "B higher"],
        "not told from the base": [it.at("a") for it in mine if not it.holds],
    }
    found = ", ".join(f"{side}: {_listed(names)}" for side, names in sides.items() if names)
    return f"{_name(figure, set_name)} {found}"


def _leading(one: dict[str, Any]) -> str:
    place = f"{_name(one['metric'], one['set'])} ({METHODS[one['method']]})"
    first, second = one["leading"], one["runner_up"]
    verb = "leads apart from" if one["apart"] else "is not told from"
    return f"{first} {verb} {second} in {place}"


def make(subjects: list[Subject]) -> Table:
    """Returns the table: every paired test of every experiment."""
    comparisons = comparisons_of(subjects)
    return Table(
        name="differences",
        title="Differences between models on the same items",
        columns=COLUMNS,
        rows=lines_of(comparisons),
        notes=[*NOTES, *notes_of(comparisons)],
        stub=3,
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
