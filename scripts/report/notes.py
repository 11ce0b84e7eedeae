"""Notes that tables and figures share: what was measured, on how many items, how, and with what."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scripts.common.methods import LOOKUP, LOOKUP_LABEL
from scripts.common.metrics import metric
from scripts.report.results import MODEL, Results

if TYPE_CHECKING:
    from pandas import DataFrame

WILSON_NOTE = (
    "Wilson: 95 % score interval of a share, items taken as independent; over several seeds the "
    "interval by group stands in its place."
)
BY_GROUP_NOTE = (
    "By group: 95 % bootstrap interval; whole groups are drawn, so that items of one prompt stay "
    "together, and with several seeds the seeds, too."
)
INTERVAL_NOTES = [WILSON_NOTE, BY_GROUP_NOTE]


def said_once(texts: Iterable[tuple[str, str]]) -> str:
    """Return each distinct text once; where there are several, with the places it holds for."""
    places: dict[str, list[str]] = {}
    for place, text in texts:
        places.setdefault(text, []).append(place)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(
        f"{text} ({', '.join(dict.fromkeys(names))})" for text, names in places.items()
    )


def metric_notes(results: Results, models: "DataFrame", *names: str) -> list[str]:
    """Return of each metric that has a value its definition, and how many items it is of."""
    found = models[MODEL].merge(results.metrics.dropna(subset=["value"]), on=MODEL)
    found = found[found["method"] != LOOKUP]
    notes = []
    for name in names:
        rows = found[found["metric"] == name].to_dict("records")
        places = ["/".join(filter(_is_text, (row["experiment"], row["set"]))) for row in rows]
        defined = [metric(name).defined({"detail": row["detail"]}).rstrip(".") for row in rows]
        parts = (defined, [_size(row["n"], row["groups"]) for row in rows])
        if rows:
            texts = [said_once(zip(places, part, strict=True)) for part in parts]
            notes.append(f"{metric(name).label}: {'; '.join(filter(None, texts))}.")
    return notes


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _size(n: Any, groups: Any) -> str:
    from pandas import isna

    size = "n = –" if isna(n) else f"n = {n:,}"
    return size if isna(groups) or groups == n else f"{size} in {groups:,} groups"


def set_notes(results: Results, models: "DataFrame", *names: str) -> list[str]:
    """Return for each set of prompts that has one of the metrics how it was answered."""
    found = results.metrics.dropna(subset=["value", "set"])
    places = found[found["metric"].isin(names)][["experiment", "set"]].drop_duplicates()
    sets = results.sets.merge(models[MODEL], on=MODEL)
    order = sets.drop_duplicates(["experiment", "set"])
    return answering_notes(order.merge(places, on=["experiment", "set"]))


def answering_notes(sets: "DataFrame") -> list[str]:
    """Return how each set of prompts was answered, given rows of the frame `sets`."""
    found = {
        name: said_once((row.experiment, _answering(row)) for row in rows.itertuples())
        for name, rows in sets.groupby("set", sort=False)
    }
    return [f"Prompts {name}: {text}." for name, text in found.items()]


def _answering(row: Any) -> str:
    settings = row.settings
    before, after = settings["answer_before"], settings["answer_after"]
    compared = settings["overlap"] and settings["scored"]
    parts = [
        f"{settings['split']} split of {settings['dataset']}"
        + (f", the first {settings['limit']:,}" if settings["limit"] else ""),
        _decoding(settings),
        f"at most {settings['max_new_tokens']:,} new tokens",
        f"the answer before the first {before.strip()!r}" if before else "",
        f"the answer after the last {after.strip()!r}" if after else "",
        f"{row.left_out:,} items left out that are among the SFT rows" if compared else "",
    ]
    return ", ".join(filter(None, parts))


def _decoding(settings: dict[str, Any]) -> str:
    if settings["own_settings"]:
        return "the model's own generation settings"
    if not settings["do_sample"]:
        return "greedy"
    given = [f"{key} {settings[key]:g}" for key in ("temperature", "top_p") if settings[key]]
    return ", ".join(["sampled", *given])


def lookup_notes(results: Results, models: "DataFrame") -> list[str]:
    """Return what the lookup is, and how many test pairs it knows, if there is one."""
    found = models[models["method"] == LOOKUP][MODEL].merge(results.metrics, on=MODEL)
    known = found[found["metric"] == "known_pairs"]
    if known.empty:
        return []
    definition = metric("preference_accuracy").defined({}, LOOKUP).rstrip(".")
    texts = ((row.experiment, known_pairs(row.value * row.n, row.n)) for row in known.itertuples())
    return [f"{LOOKUP_LABEL[0].upper()}{LOOKUP_LABEL[1:]}: {definition}; {said_once(texts)}."]


def known_pairs(known: float, pairs: int) -> str:
    """Return how many test pairs consist of completions that train has judged."""
    return f"both completions of {round(known):,} of {pairs:,} test pairs are judged in train"


def seed_note(models: "DataFrame") -> str:
    """Return which seeds the models have, and what is shown of several."""
    seeds = sorted({int(run.rsplit("/seed-", 1)[1]) for runs in models["runs"] for run in runs})
    match seeds:
        case []:
            return "No trial is planned."
        case [only]:
            return f"Every trial ran with seed {only}."
    return (
        f"Seeds: {', '.join(map(str, seeds))}. With several seeds: mean ± standard deviation over "
        "seeds (n − 1), and the interval that draws seeds and groups; a metric that is no mean "
        "over items, as BLEU, has none. The table seeds has each seed."
    )


def version_notes(results: Results, models: "DataFrame") -> list[str]:
    """Return the packages that the trials were trained with, each distinct set once."""
    runs = results.outcomes.merge(models[MODEL], on=MODEL)
    names = [name for name in runs.columns if name.startswith("versions.")]
    found = []
    for row in runs.to_dict("records"):
        versions = {name: row[name] for name in names if _is_text(row[name])}
        text = ", ".join(f"{name.removeprefix('versions.')} {it}" for name, it in versions.items())
        found.append((row["model"], text))
    found = [(name, text) for name, text in found if text]
    return [f"Trained with {said_once(found)}."] if found else []


def sign_notes(results: Results) -> list[str]:
    """Return which trials have signs that they went wrong, and which have what is to be known."""
    titles = {False: "Signs that a trial went wrong", True: "To be known of trials"}
    seeds = {row["model"]: len(row["seeds"]) for row in results.models.to_dict("records")}
    every, notes = results.signs.to_dict("records"), []
    for note, title in titles.items():
        found: dict[str, dict[str, set[int | None]]] = {}
        for row in (it for it in every if it["note"] == note):
            place = f" on {row['set']}" if _is_text(row["set"]) else ""
            signs = found.setdefault(row["model"], {})
            signs.setdefault(f"{row['sign']}{place}", set()).add(row["seed"])
        of_models = [
            f"{model}: {', '.join(_in_seeds(*it, seeds[model]) for it in signs.items())}"
            for model, signs in found.items()
        ]
        notes += [f"{title} (docs/signs.md): {'; '.join(of_models)}."] if of_models else []
    return notes


def _in_seeds(sign: str, having: set[int | None], seeds: int) -> str:
    """Return a sign, and how many seeds have it where not all do; None is all of them together."""
    every = None in having or len(having) == seeds
    return sign if every else f"{sign} ({len(having)} of {seeds} seeds)"
