"""What each trial, base and reference took, and of which device.

    python -m scripts.report.tables.cost --root results/demo --plan '[{"experiment": …}, …]' \\
        --references tutor=results/demo/references/base.dialogues.demo.chat.128/train.json … \\
        --csv cost.csv --md cost.md --tex cost.tex --json cost.json
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json
from scripts.common.methods import BASE, LABELS
from scripts.report.arguments import results_of
from scripts.report.results import MODEL, Results, at, read, taken
from scripts.report.tables.columns import EXPERIMENT, SEED
from scripts.report.tables.write import Column, Table, table_parser, write_forms
from scripts.report.text import count, decimals, missing

if TYPE_CHECKING:
    from pandas import DataFrame

REFERENCE = "reference"
JOULES = 3600
"""In a watt hour."""
COLUMNS = (
    EXPERIMENT,
    Column("Trial", "trial", align="l"),
    SEED,
    Column("Method", "_method", align="l"),
    Column("Device", "device", align="l"),
    Column("Training\nseconds", "training_seconds", decimals(1)),
    Column("Evaluation\nseconds", "evaluation_seconds", decimals(1)),
    Column("Steps", "steps", count),
    Column("Tokens", "tokens", count),
    Column("Tokens\nprocessed", "processed_tokens", count),
    Column("Tokens a\nsecond", "tokens_per_second", decimals(0)),
    Column("Peak\nMiB", "peak_memory_mb", decimals(0)),
    Column("Energy\n(Wh)", "energy_watt_hours", decimals(3)),
)
CSV = [
    "experiment", "title", "trial", "seed", "method",
    *(column.source for column in COLUMNS if column.source not in ("title", "trial", "seed",
                                                                   "_method")),
]  # fmt: skip


def make(results: Results, references: Iterable[tuple[str, Path]]) -> Table:
    """Return the table: the base and the runs of each experiment, then its references.

    Parameters
    ----------
    references
        For each reference's log-probs the experiment that they are counted for, and the file of
        their cost.
    """
    from pandas import DataFrame

    rows = _runs(results).to_dict("records")
    found = [
        *map(_of_run, rows),
        *(_of_reference(path, name) | {"title": results.titles[name]}
          for name, path in references if name in results.titles),
    ]  # fmt: skip
    order = list(results.titles)
    found.sort(key=lambda row: order.index(row["experiment"]))
    names = dict.fromkeys([*CSV, "_method", "state", "reason", "log", "undone", *MODEL])
    frame = DataFrame(found, columns=list(names), dtype=object)
    parts = [(results.titles[name], [it for it in found if it["experiment"] == name])
             for name in order]  # fmt: skip
    return Table(
        name="cost",
        title="What each run took",
        frame=frame,
        csv=CSV,
        columns=COLUMNS,
        notes=[
            *(_total(title, own) for title, own in parts if own),
            "Training seconds: of the training loop, evaluations on the way included; of a "
            "reference, of its log-probs, which are computed once for all trials that share them "
            "and stand here once. Evaluation seconds: loading the model and scoring it.",
            "Tokens: of all rows that were learned from, without padding; processed: those that "
            "the model was given, which are fewer where rows share a prompt, and more where they "
            "are padded. Tokens a second: of training.",
            "Peak: of a GPU what was allocated, on a CPU the size of the process; of training and "
            "evaluation the larger.",
            "Energy: of the whole GPU, as it counts by itself; – where none does.",
            "Data, judging, tables and figures, and tries that failed or were interrupted, are not "
            "counted.",
        ],
    )


def _runs(results: Results) -> "DataFrame":
    """Return the bases and runs, in the plan's order, with what training and scoring took."""
    from pandas import concat

    shared = ("device", "seconds", "peak_memory_mb", "energy_joules")
    trained = taken(results.runs, "steps", "tokens", "layout.processed_tokens", *shared)
    scored = taken(results.scores, *shared)
    bases = results.models[results.models["method"] == BASE]
    runs = concat([bases, results.each_seed.models])
    runs = runs.assign(trial=runs["model"], _method=runs["method"].map(LABELS))
    places = {folder: place for place, folder in enumerate(results.models["folder"])}
    whole = [it.rsplit("/seed-", 1)[0] for it in runs["folder"]]
    runs = runs.iloc[sorted(range(len(runs)), key=lambda it: places[whole[it]])]
    return runs.merge(trained, how="left", on=MODEL).merge(
        scored, how="left", on=MODEL, suffixes=("_train", "_score")
    )


def _of_run(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a run or base took; None for what is not done or not counted."""

    def told(*keys: str) -> list[Any]:
        return [None if missing(row[key]) else row[key] for key in keys]

    training, evaluation, tokens = told("seconds_train", "seconds_score", "tokens")
    peaks = [it for it in told("peak_memory_mb_train", "peak_memory_mb_score") if it is not None]
    energies = told("energy_joules_score", *(["energy_joules_train"] if row["runs"] else []))
    # A trial that was resumed elsewhere names several devices, too.
    devices = ", ".join(filter(None, told("device_train", "device_score"))).split(", ")
    return row | {
        "device": ", ".join(dict.fromkeys(filter(None, devices))) or None,
        "training_seconds": training,
        "evaluation_seconds": evaluation,
        "processed_tokens": row["layout.processed_tokens"],
        "tokens_per_second": tokens / training if tokens and training else None,
        "peak_memory_mb": max(peaks, default=None),
        # Where a part is not counted, no sum is known.
        "energy_watt_hours": None if None in energies else sum(energies) / JOULES,
    }


def _of_reference(path: Path, experiment: str) -> dict[str, Any]:
    """Return what a reference's log-probs took. Raise BadInput where the file lacks it."""
    content = read(path, read_json)
    joules = at(content, path, "energy_joules")
    return {
        "experiment": experiment,
        "trial": f"{path.parent.name}/{path.stem}",
        "method": REFERENCE,
        "_method": REFERENCE,
        "device": at(content, path, "device"),
        "training_seconds": at(content, path, "seconds"),
        "peak_memory_mb": at(content, path, "peak_memory_mb"),
        "energy_watt_hours": None if joules is None else joules / JOULES,
    }


def _total(title: str, rows: list[dict[str, Any]]) -> str:
    """Return what an experiment took; energy only where every part is known."""

    def total(key: str, references: bool = False) -> float:
        own = [row.get(key) for row in rows if (row["method"] == REFERENCE) == references]
        return sum(value for value in own if value is not None)

    references = sum(row["method"] == REFERENCE for row in rows)
    several = "" if references == 1 else "s"
    parts = {
        "training": total("training_seconds"),
        "evaluation": total("evaluation_seconds"),
        f"{references} reference{several}, each once": total("training_seconds", references=True),
    }
    # What is not done has taken nothing that is known.
    hours = [row["energy_watt_hours"] for row in rows if row["device"]]
    energy = "" if None in hours or not hours else f"; {sum(hours):,.3f} Wh"
    named = dict.fromkeys(it for row in rows for it in (row["device"] or "").split(", ") if it)
    said = ", ".join(f"{seconds:,.1f} s of {part}" for part, seconds in parts.items())
    return (
        f"Total of {title}: {sum(parts.values()):,.1f} s ({said}){energy}; "
        f"device: {', '.join(named) or 'none'}."
    )


def owned(word: str) -> tuple[str, Path]:
    """Return experiment and file of `experiment=file`. Raise BadInput for anything else."""
    name, equals, path = word.partition("=")
    if not equals:
        raise BadInput(f"--references: found {word}; experiment=file is allowed")
    return name, Path(path)


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    parser = table_parser(__doc__)
    parser.add_argument(
        "--references", nargs="*", default=[], help="experiment=file of each reference's cost"
    )
    arguments = parser.parse_args(argv)
    results = results_of(arguments)
    return write_forms(make(results, map(owned, arguments.references)), results, arguments)


if __name__ == "__main__":
    run(main)
