"""The differences: two models, a metric, and whether a paired test shows a difference.

    python -m scripts.report.tables.differences --root results/demo --plan '[{…}, …]' \\
        --csv differences.csv --md differences.md --tex differences.tex --json differences.json
"""

from typing import Any

from scripts.common.cli import run
from scripts.common.methods import LABELS, METHODS
from scripts.common.metrics import METRICS, metric
from scripts.report.notes import said_once
from scripts.report.results import Results
from scripts.report.tables.tests import listed, tested
from scripts.report.tables.write import Column, Table, write_table
from scripts.report.text import count, decimals

LEAST_P = 0.0001
CSV = [
    "experiment", "title", "metric", "set", "kind", "method", "a", "b", "value_a", "value_b",
    "difference", "interval_low", "interval_high", "p", "holm_p", "n", "groups", "seeds_a",
    "seeds_b", "test", "verdict",
]  # fmt: skip
RULES = {
    "all": "each with each other",
    "leading": "more than ten, so each with the leading one, which was picked on the same items: "
    "its p-values are on the low side",
}


def _p(value: float) -> str:
    return f"<{LEAST_P:.4f}" if value < LEAST_P else decimals(4)(value)


COLUMNS = (
    Column("Experiment", "title", align="l"),
    Column("Metric", "_label", align="l"),
    Column("Prompts", "set", align="l"),
    Column("A", "a", align="l"),
    Column("B", "b", align="l"),
    Column("A − B\n[95 %]", "_difference", sort="value_a"),
    Column("p", "p", _p),
    Column("Holm p", "holm_p", _p),
    Column("n", "n", count),
    Column("Groups", "groups", count),
    Column("Seeds", "_seeds", sort="seeds_a"),
    Column("Test", "test", align="l"),
    Column("Verdict", "verdict", align="l"),
)
NOTES = [
    "A − B: of the means over seeds; 95 % bootstrap interval, groups drawn for both together and "
    "seeds for each side of its own.",
    "Test, two-sided, on the same items: sign flips swap A and B group by group and count how "
    "often the difference is as large; all ways where at most twelve groups differ, else 10,000 "
    "drawn ones (40 a test where there are more than 250, of those that the first 10,000 leave "
    "below 0.1), of which the least p is 1 / 10,001. "
    "McNemar where every item is a group of its own and a success or a failure. Ties count half. "
    "Items' scores are averaged over seeds: a test is of the items, and says nothing of other "
    "seeds.",
    "Holm p: corrected for all tests of one metric in the experiment, since who looks for the "
    "trial that leads in a metric looks at all of them. A difference is shown below 0.05; with "
    "several seeds only where the interval leaves out 0, too.",
]


def make(results: Results) -> Table:
    """Return the table: every paired test of every experiment."""
    frame = tested(results).rename(columns={"holm": "holm_p"})
    rows = frame.to_dict("records")
    frame = frame.assign(
        _label=[metric(row["metric"]).label for row in rows],
        _difference=list(map(_difference, rows)),
        _seeds=[
            count(row["seeds_a"]) if row["seeds_a"] == row["seeds_b"]
            else f"{row['seeds_a']}, {row['seeds_b']}"
            for row in rows
        ],
    )  # fmt: skip
    return Table(
        name="differences",
        title="Differences between models on the same items",
        frame=frame,
        csv=CSV,
        columns=COLUMNS,
        notes=[*NOTES, *_notes(results)],
        stub=3,
    )


def _difference(row: dict[str, Any]) -> str:
    found = METRICS[row["metric"]]
    loss = found.higher_is_better is False and found.unit.startswith("nats")
    column = Column(
        "", "difference", decimals(4 if loss else 3), bracket=("interval_low", "interval_high")
    )
    return column.text(row)


def _notes(results: Results) -> list[str]:
    """Return how the pairs were chosen, and what is not compared and why."""
    comparisons = results.comparisons
    rules = [
        (f"{name}, {LABELS[method]}", RULES[rule])
        for name, comparison in comparisons.items()
        for method in METHODS
        if (rule := comparison["pairs"].get(method))
    ]
    never = {
        ", ".join(part["metrics"]): part["reason"]
        for comparison in comparisons.values()
        for part in comparison["never_compared"]
    }
    left_out = [
        f"{one['model']} in {metric(one['metric']).label} ({one['reason']})"
        for comparison in comparisons.values()
        for one in comparison["left_out"]
    ]
    reasons = "; ".join(f"{names} ({reason})" for names, reason in never.items())
    return [
        "Pairs: trials with the base, preference trials with their start"
        + (f", and trials of a method: {said_once(rules)}." if rules else "."),
        "Starts are scored on no pairs: their policy accuracy is that of their trials' reference.",
        *([f"Never compared: {reasons}."] if never else []),
        *([f"Left out: {listed(left_out)}."] if left_out else []),
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
