"""Every metric of every model: a row for each, of pairs, completions and answers.

    python -m scripts.report.tables.metrics --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv metrics.csv --md metrics.md --tex metrics.tex --json metrics.json
"""

from scripts.common.cli import run
from scripts.common.metrics import metric
from scripts.report.notes import BY_GROUP_NOTE, WILSON_NOTE, lookup_notes, seed_note
from scripts.report.results import INTERVALS, MODEL, Results
from scripts.report.tables.columns import (
    EXPERIMENT,
    METHOD,
    SEEDS,
    SET,
    TRIAL,
    described,
    selection_notes,
    standing,
)
from scripts.report.tables.write import Column, Table, write_table
from scripts.report.text import count, decimals

SHOWN_FIRST = ("group bootstrap", "group jackknife", "wilson")
"""Of a metric with several intervals the first is shown: items of a group go together."""
CSV = [
    "experiment", "title", "trial", "method", "seeds", "set", "metric", "definition", "value",
    "sd", "unit", "interval_low", "interval_high", "interval_method", "n", "groups",
]  # fmt: skip
COLUMNS = (
    EXPERIMENT,
    TRIAL,
    METHOD,
    SEEDS,
    SET,
    Column("Metric", "_label", align="l"),
    Column("Value", "value", decimals(3), sd="sd"),
    Column("Unit", "unit", align="l"),
    Column("Interval", show=decimals(3), bracket=("interval_low", "interval_high")),
    Column("Interval method", "_interval_method", align="l"),
    Column("n", "n", count),
    Column("Groups", "groups", count),
)


def make(results: Results) -> Table:
    """Return the table: every metric of every model."""
    seen = standing(results, "base", "demonstrations", "preferences", "lookup")
    frame = described(seen).merge(seen.metrics, on=MODEL)
    frame = frame.assign(interval_method=None, interval_low=None, interval_high=None)
    for name in reversed(SHOWN_FIRST):
        low, high = (frame[f"{name.replace(' ', '_')}_{end}"] for end in ("low", "high"))
        there = low.notna()
        frame["interval_method"] = frame["interval_method"].mask(there, name)
        frame["interval_low"] = frame["interval_low"].mask(there, low)
        frame["interval_high"] = frame["interval_high"].mask(there, high)
    rows = frame.to_dict("records")
    frame = frame.assign(
        definition=[metric(row["metric"]).defined(row, row["method"]) for row in rows],
        unit=[metric(row["metric"]).unit for row in rows],
        _label=[metric(row["metric"]).label for row in rows],
        _interval_method=frame["interval_method"].map(INTERVALS),
    )
    return Table(
        name="metrics",
        title="Every metric of every model",
        frame=frame,
        csv=CSV,
        columns=COLUMNS,
        notes=[
            seed_note(seen.models),
            *selection_notes(frame),
            "What each metric is stands in the column definition of the CSV, and in "
            "docs/metrics.md.",
            *lookup_notes(seen, seen.models),
            WILSON_NOTE,
            BY_GROUP_NOTE,
            "Jackknife: from the metric without each group in turn, for counts of what differs.",
        ],
        stub=5,
    )


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
