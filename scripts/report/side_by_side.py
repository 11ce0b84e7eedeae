"""What every model of an experiment answered to the same prompts, for a page that compares them."""

from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import Row, read_rows
from scripts.report.columns import answering_notes
from scripts.report.examples import ENDS
from scripts.report.read import METHODS, Subject, by_experiment
from scripts.report.style import names_of

PROMPTS = 200
"""So many prompts of a set stand in a page, the first ones; the page says how many there are."""

EXACT = "exact_match"


def sets_of(subjects: list[Subject]) -> list[dict[str, Any]]:
    """Returns each set of prompts of each experiment with what its models answered.

    Each has the models' names and, for each prompt, `[text, tokens, how it ended, exact match]` by
    model; exact match is null where it is not scored, and an answer is null where there is none.

    Raises
    ------
    BadInput
        When a file is missing or unreadable.
    """
    return [
        _set(name, [it for it in members if name in it.sets])
        for members in by_experiment(subjects).values()
        for name in dict.fromkeys(name for it in members for name in it.sets)
    ]


def _set(name: str, subjects: list[Subject]) -> dict[str, Any]:
    answers = [{row["id"]: row for row in subject.answers(name)} for subject in subjects]
    scores = [_scores(subject, name) for subject in subjects]
    asked = {key: row for rows in reversed(answers) for key, row in rows.items()}
    # The first model's order, which is the data's.
    order = [key for key in answers[0] if key in asked]
    source = _source(subjects[0], name)
    kept = order[:PROMPTS]
    return {
        "experiment": subjects[0].title,
        "name": name,
        "how": answering_notes([(name, subjects[0])])[0],
        "prompts": len(order),
        "models": [
            {"name": label, "method": METHODS[subject.method], "base": subject.method == "base"}
            for label, subject in zip(names_of(subjects), subjects, strict=True)
        ],
        "items": [
            {
                "id": key,
                "prompt": _prompt(source.get(key)) or asked[key]["prompt"],
                "known": _known(source.get(key)),
                "answers": [
                    _answer(rows.get(key), own.get(key))
                    for rows, own in zip(answers, scores, strict=True)
                ],
            }
            for key in kept
        ],
    }


def _answer(row: Row | None, score: float | None) -> list[Any] | None:
    if row is None:
        return None
    return [row["text"], row["tokens"], ENDS.get(row["stop"], row["stop"]), score]


def _scores(subject: Subject, name: str) -> dict[str, float]:
    """Returns by prompt whether the answer matches the known one, where that is scored."""
    rows = _rows(subject, f"{subject.folder}/items.parquet")
    return {row["id"]: row["score"] for row in rows if (row["set"], row["metric"]) == (name, EXACT)}


def _source(subject: Subject, name: str) -> dict[str, Row]:
    """Returns by id the rows that the prompts were taken from."""
    settings = subject.answering(name)
    rows = _rows(subject, f"data/{settings['dataset']}/{settings['split']}.parquet")
    return {row["id"]: row for row in rows}


def _rows(subject: Subject, name: str) -> list[Row]:
    path = subject.root / name
    try:
        return read_rows(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from None


def _prompt(row: Row | None) -> str | None:
    """Returns a prompt as a person wrote it, without the template's marks."""
    if row is None:
        return None
    turns = row["prompt"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _known(row: Row | None) -> str | None:
    return row["completion"][-1]["content"] if row and "completion" in row else None
