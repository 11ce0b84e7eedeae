"""What every model of an experiment answered to the same prompts, for the page to compare."""

from typing import TYPE_CHECKING, Any

from scripts.common.files import Row, read_rows
from scripts.common.methods import BASE, LABELS
from scripts.common.texts import dialogue, worded
from scripts.report.notes import answering_notes
from scripts.report.results import Results, read
from scripts.report.text import ENDS

if TYPE_CHECKING:
    from pandas import DataFrame

PROMPTS = 200
"""How many prompts of a set are in the page, the first ones; it says how many there are."""
EXACT = "exact_match"


def sets_of(results: Results) -> list[dict[str, Any]]:
    """Return each set of prompts of each experiment with what its models answered.

    Each has the models' names and, for each prompt, `[text, tokens, how it ended, exact match]` by
    model; exact match is null where it is not scored, and an answer is null where there is none.
    """
    from pandas import concat

    bases = results.models[results.models["method"] == BASE]
    models = concat([bases, results.each_seed.models])
    sets = concat([results.sets[results.sets["method"] == BASE], results.each_seed.sets])
    return [
        _set(results, members, sets[sets["set"] == name])
        for experiment in results.titles
        for members in [models[models["experiment"] == experiment]]
        for name in sets.loc[sets["experiment"] == experiment, "set"].unique()
    ]


def _set(results: Results, models: "DataFrame", sets: "DataFrame") -> dict[str, Any]:
    models = models.merge(sets)
    first, name = models.iloc[0], models["set"].iloc[0]
    answers, items = results.answers, results.items
    scores = items[(items["set"] == name) & (items["metric"] == EXACT)]
    by_model = [
        (
            _by_id(answers[(answers["folder"] == folder) & (answers["set"] == name)]),
            _by_id(scores[scores["folder"] == folder]),
        )
        for folder in models["folder"]
    ]
    # The order of the first model, which is that of the data.
    order = list(by_model[0][0])
    path = f"data/{first['settings']['dataset']}/{first['settings']['split']}.parquet"
    source = {row["id"]: row for row in read(results.root / path, read_rows)}
    several = models["label"].duplicated(keep=False)
    names = models["label"].where(~several, models["label"] + ", seed " + models["seed"].map(str))
    return {
        "experiment": first["title"],
        "name": name,
        "how": answering_notes(models.head(1))[0],
        "prompts": len(order),
        "models": [
            {"name": label, "method": LABELS[method], "base": method == BASE}
            for label, method in zip(names, models["method"], strict=True)
        ],
        "items": [
            {
                "id": key,
                "prompt": _prompt(source.get(key)) or by_model[0][0][key]["prompt"],
                "known": _known(source.get(key)),
                "answers": [_answer(rows.get(key), own.get(key)) for rows, own in by_model],
            }
            for key in order[:PROMPTS]
        ],
    }


def _by_id(rows: "DataFrame") -> dict[str, Row]:
    return {row["id"]: row for row in rows.to_dict("records")}


def _answer(row: Row | None, scored: Row | None) -> list[Any] | None:
    if row is None:
        return None
    score = scored["score"] if scored else None
    return [row["text"], row["tokens"], ENDS.get(row["stop"], row["stop"]), score]


def _prompt(row: Row | None) -> str | None:
    """Return a prompt as a person wrote it, without the template's marks."""
    return dialogue(row["prompt"]) if row else None


def _known(row: Row | None) -> str | None:
    return worded(row["completion"][-1]) if row and "completion" in row else None
