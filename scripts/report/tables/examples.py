"""The examples: what the base and some trials answered to the same prompts, word for word.

    python -m scripts.report.tables.examples --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv examples.csv --md examples.md --tex examples.tex --json examples.json
"""

from collections.abc import Iterator
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.methods import BASE
from scripts.report.notes import answering_notes
from scripts.report.results import MODEL, Results
from scripts.report.tables.columns import EXPERIMENT
from scripts.report.tables.write import Column, Table, write_table
from scripts.report.text import ENDS, count

COLUMNS = (
    EXPERIMENT,
    Column("Prompts", "set", align="l"),
    Column("Prompt", "prompt", align="p", once=True),
    Column("Model", "_model", align="l"),
    Column("Answer", "text", lambda text: text.strip() or "(nothing)", align="p"),
    Column("Tokens", "tokens", count),
    Column("Ended by", "stop", lambda stop: str(ENDS.get(stop, stop)), align="l"),
)
CSV = ["experiment", "title", "set", "id", "prompt", "trial", "seed", "text", "tokens", "stop"]

Row = dict[str, Any]


def make(results: Results) -> Table:
    """Return the table: for each set and prompt what every shown model answered."""
    from pandas import DataFrame

    groups = list(_shown(results))
    rows = [row for name, models in groups for row in _lines(results, name, models)]
    names = dict.fromkeys([*CSV, *MODEL, "folder", "state", "reason", "log", "undone", "_model"])
    done = [[it for it in models if not it["undone"]][:1] for _, models in groups]
    folders = {it["folder"] for first in done for it in first}
    sets = results.only(results.models[results.models["folder"].isin(folders)]).sets
    sets = sets[sets["set"].isin([name for name, _ in groups])]
    return Table(
        name="examples",
        title="Answers word for word",
        frame=DataFrame(rows, columns=list(names), dtype=object),
        csv=CSV,
        columns=COLUMNS,
        notes=[
            *answering_notes(sets),
            "Cut off: the answer reached the most tokens that were allowed.",
            "Signs that are not seen, and signs that a form of this table cannot print, stand as "
            "their code points, such as [U+200B]; the CSV holds each text as it is.",
        ],
        about=("experiment", "set", "id"),
        stub=2,
        page=8,
    )


def _shown(results: Results) -> Iterator[tuple[str, list[Row]]]:
    """Yield each set of prompts whose answers are shown, with the base and the shown runs."""
    bases = results.models.to_dict("records")
    runs = {row["folder"]: row for row in results.each_seed.models.to_dict("records")}
    for part in results.plan:
        base = [
            it for it in bases
            if it["method"] == BASE and it["experiment"] == part["experiment"]
        ]  # fmt: skip
        for name, shown in part["shown"].items():
            yield name, [*base, *(runs[f"trials/{run}"] for run in shown)]


def _lines(results: Results, name: str, models: list[Row]) -> Iterator[Row]:
    """Yield the answers prompt by prompt. Raise BadInput where a model that is done lacks one."""
    answers = results.answers
    answers = answers[answers["set"] == name] if len(answers) else answers
    found = [
        {row["id"]: row for row in answers[answers["folder"] == it["folder"]].to_dict("records")}
        for it in models
    ]
    asked: dict[Any, Row] = next(
        (rows for it, rows in zip(models, found, strict=True) if not it["undone"]), {None: {}}
    )
    for it, rows in zip(models, found, strict=True):
        lacks = [identity for identity in asked if identity not in rows]
        if not it["undone"] and (lacks or not rows):
            place = f"{results.root / it['folder']}/generations.parquet"
            which = f"the prompt {lacks[0]}" if lacks else "a prompt"
            raise BadInput(f"{place}: no answer to {which} of the set {name}")
    for identity, first in asked.items():
        for it, rows in zip(models, found, strict=True):
            own = rows.get(identity, {"id": identity, "prompt": first.get("prompt")})
            given = {key: own.get(key) for key in ("id", "prompt", "text", "tokens", "stop")}
            label = f"{it['model']} (base)" if it["method"] == BASE else it["model"]
            yield it | given | {"set": name, "trial": it["model"], "_model": label}


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
