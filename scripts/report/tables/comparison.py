"""The comparison: each published number, what the authors' notebook shows, and what we measured.

    python -m scripts.report.tables.comparison --root results --plan '[{"experiment": …}, …]' \\
        --claims paper/claims.yaml --csv comparison.csv --md comparison.md --tex comparison.tex
"""

from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.methods import METHODS
from scripts.report.arguments import results_of
from scripts.report.notes import BY_GROUP_NOTE, WILSON_NOTE
from scripts.report.results import MODEL, Results
from scripts.report.tables.claims import (
    BASE,
    LOOKUP_TRIAL,
    Claim,
    ClaimedFigure,
    Claims,
    Ours,
    read_claims,
)
from scripts.report.tables.columns import BY_GROUP, MEASURED, WILSON, names_of
from scripts.report.tables.speedup import Speedup
from scripts.report.tables.tests import sentences
from scripts.report.tables.write import Column, Table, table_parser, write_forms
from scripts.report.text import Show, change, count, decimals, missing, shown, shown_interval

Bounds = tuple[float, float]
Row = dict[str, Any]
COLUMNS = (
    Column("Experiment", "title", align="l"),
    Column("Metric", "metric", align="l"),
    Column("Trial", "trial", align="l", once=True),
    Column("Claimed", "_claimed", once=True, sort="claimed_value"),
    Column("In the authors'\nnotebook", "_notebook", once=True),
    Column("Our protocol", "_protocol", align="l"),
    Column("Ours", "_ours", sort="ours"),
    Column("95 % interval", "_interval", sort="_low"),
    Column("n", "ours_n", count),
    Column("Claim\ninside", "_inside", align="l"),
    Column("Ours −\nclaimed", "_difference", sort="difference"),
    Column("Notes", "notes", align="l", once=True),
)
CSV = [
    "experiment", "title", "metric", "trial", "claimed", "claimed_value", "claimed_n",
    "claimed_low", "claimed_high", "notebook", "other_notebooks", "protocol", "our_trial", "seeds",
    *names_of("ours"), "inside", "difference", "notes",
]  # fmt: skip


def difference_bounds(ours: float, bounds: Bounds, claimed: float, own: Bounds) -> Bounds:
    """Return the bounds of ours minus the claimed from those of both.

    Of two shares with Wilson's intervals it is Newcombe's interval (1998, method 10); of others
    Zou & Donner 2008, https://doi.org/10.1002/sim.3095. Both are taken as independent: on the same
    items they go together, which makes the interval too wide rather than too narrow.
    """
    (low, high), (claimed_low, claimed_high) = bounds, own
    below = sqrt((ours - low) ** 2 + (claimed_high - claimed) ** 2)
    above = sqrt((high - ours) ** 2 + (claimed - claimed_low) ** 2)
    return ours - claimed - below, ours - claimed + above


class Planned:
    """The plan's models by the names that claims use, and what was measured of them."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.models = results.models.to_dict("records")
        self.runs = results.each_seed.models.to_dict("records")
        self.measured = {
            (*_key(row), None if missing(row["set"]) else row["set"], row["metric"]): row
            for row in results.metrics.to_dict("records")
        }
        self.outcomes = {_key(row): row for row in results.outcomes.to_dict("records")}
        self.trained = {_key(row): row for row in results.runs.to_dict("records")}

    def named(self, experiment: str, trial: str) -> list[Row]:
        """Return a trial, or an experiment's base or lookup; none if it is not planned."""
        if trial in (BASE, LOOKUP_TRIAL):
            wanted = (experiment, trial)
            return [it for it in self.models if (it["experiment"], it["method"]) == wanted]
        return [it for it in self.models if it["method"] in METHODS and it["model"] == trial]

    def ours(self, figure: ClaimedFigure, protocol: str, trial: str) -> tuple[Row | None, Row]:
        """Return our model under a protocol, and its metric.

        The metric is empty for a model that is not planned, or not done. For a speedup the model is
        the first of its trials that is not done, if any.

        Raises
        ------
        BadInput
            When the files of a planned model lack the metric.
        """
        if figure.ours.speedup is not None:
            trials = [*self.named("", figure.ours.speedup), *self.named("", figure.ours.over or "")]
            undone = next((it for it in trials if it["undone"]), None)
            found = self.speedup(figure.ours)
            return undone, {"value": found.factor} if found else {}
        for model in self.named(figure.experiment, trial):
            return model, self.metric(model, figure.ours_under(protocol))
        return None, {}

    def speedup(self, ours: Ours) -> Speedup | None:
        """Return the runs that a claim sets against each other, if it is such and all are done."""
        if ours.speedup is None:
            return None
        sides = [
            [it for it in self.runs if it["model"] == trial] for trial in (ours.speedup, ours.over)
        ]
        if not all(sides) or any(it["undone"] for runs in sides for it in runs):
            return None
        fast, slow = ([self.trained[_key(it)] for it in runs] for runs in sides)
        return Speedup(fast, slow)

    def metric(self, model: Row, ours: Ours) -> Row:
        """Return a metric of a model, or an empty row if it is not done."""
        if model["undone"]:
            return {}
        found: Row = {}
        if ours.figure is not None:
            found = self.measured.get((*_key(model), ours.set, ours.figure), {})
        else:
            outcome = self.outcomes.get(_key(model), {})
            parts = [outcome.get(key) for key in (ours.training, ours.over) if key is not None]
            if not any(map(missing, parts)):
                found = {"value": parts[0] / parts[1] if ours.over else parts[0]}
        if missing(found.get("value")):
            place = self.results.root / model["folder"]
            prompts = f" on the prompts {ours.set}" if ours.set else ""
            name = ours.figure or ours.training
            raise BadInput(f"{place}: has no {name}{prompts}, which a claim is compared with")
        return found


def _key(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in MODEL)


# ------------------------------------------------------------------------------------ what a row is


def _lines(claims: Claims, planned: Planned) -> Iterator[Row]:
    """Yield a row for each claim and protocol."""
    numbers = {name: number for number, name in enumerate(claims.notes, start=1)}
    for figure in claims.figures:
        for claim in figure.claims:
            notes = ", ".join(map(str, sorted(numbers[it] for it in figure.notes_of(claim))))
            low, high = figure.interval_of(claim) or (None, None)
            own = {
                "experiment": figure.experiment,
                "title": claims.experiments[figure.experiment],
                "metric": figure.figure,
                "trial": claim.trial,
                "claimed": claim.claimed,
                "claimed_value": claim.value,
                "claimed_n": claim.n,
                "claimed_low": low,
                "claimed_high": high,
                "notebook": claim.notebook,
                "other_notebooks": claim.other_notebooks,
                "notes": notes,
                "_claimed": _bracketed(shown(claim.claimed), low, high, _show(figure)),
                "_notebook": shown(claim.notebook)
                + (f" (other notebooks, {claim.other_notebooks})" if claim.other_notebooks else ""),
            }
            for protocol, trial in figure.protocols(claim).items():
                yield own | _ours(figure, claim, protocol, trial, planned)


def _ours(figure: ClaimedFigure, claim: Claim, protocol: str, trial: str, planned: Planned) -> Row:
    """Return our side of a claim under a protocol."""
    model, found = planned.ours(figure, protocol, trial)
    speedup, show = planned.speedup(figure.ours), _show(figure)
    found = {key: None if missing(it) else it for key, it in found.items()}
    value: Any = found.get("value")
    n = found.get("n")
    alone = model is not None and figure.ours.speedup is None
    seeds = (len(model["seeds"]) or None) if alone and model else None
    unlike = [f"another {key}" for key in speedup.unlike] if speedup else []
    name = ", ".join([protocol, *unlike])
    kind = WILSON if missing(found.get(f"{BY_GROUP}_low")) else BY_GROUP
    low: Any = found.get(f"{kind}_low")
    high: Any = found.get(f"{kind}_high")
    inside: bool | None = None
    same_items = figure.compare == "interval" and claim.n in (None, n)
    published = protocol == figure.protocol
    difference = None if value is None or claim.value is None else value - claim.value
    if published and same_items and claim.value is not None and low is not None:
        own = figure.interval_of(claim) or (claim.value, claim.value)
        below, above = difference_bounds(value, (low, high), claim.value, own)
        inside = bool(below <= 0 <= above)
    states = {key: model and model[key] for key in ("state", "reason", "log", "undone", "model")}
    both = f"{figure.ours.speedup} / {figure.ours.over}"
    return states | {
        "protocol": name,
        "our_trial": trial if figure.ours.speedup is None else both,
        "seeds": seeds,
        "ours": value,
        **{f"ours_{key}": found.get(key) for key in MEASURED},
        "inside": inside,
        "difference": difference,
        "_protocol": f"{name}, {seeds} seeds" if seeds is not None and seeds > 1 else name,
        "_ours": shown(value, show)
        + ("" if missing(found.get("sd")) else f" ± {show(found['sd'])}"),
        "_low": low,
        "_interval": shown_interval(low, high, show),
        "_inside": _inside(inside, n, claim, published, same_items),
        "_difference": _difference(difference, figure),
    }


def _inside(
    inside: bool | None, n: Any, claim: Claim, published: bool, same_items: bool
) -> str | None:
    """Return whether the claim lies in our interval, or why that is not asked."""
    if inside is not None:
        return "yes" if inside else "no"
    if missing(n) or claim.value is None:
        return None
    if not published:
        return "other protocol"
    return None if same_items else "other items"


def _show(figure: ClaimedFigure) -> Show:
    """Return what writes a value of a claim."""
    number = decimals(figure.decimals)
    match figure.show:
        case "percent":
            return lambda value: f"{number(100 * value)} %"
        case "count":
            return lambda value: count(round(value))
        case "factor":
            return lambda value: f"{number(value)}×"
        case _:
            return lambda value: f"{number(value)} {figure.unit}".rstrip()


def _bracketed(text: str, low: Any, high: Any, show: Show) -> str:
    return text if missing(low) else f"{text} {shown_interval(low, high, show)}"


def _difference(difference: float | None, figure: ClaimedFigure) -> str | None:
    if difference is None:
        return None
    percent = figure.show == "percent"
    places = 0 if figure.show == "count" else figure.decimals
    text = change(places)((100 if percent else 1) * difference)
    return f"{text if difference else text.lstrip('+')}{' points' if percent else ''}"


def make(results: Results, claims: Claims) -> Table:
    """Return the table: a row for each claim and protocol."""
    from pandas import DataFrame

    planned = Planned(results)
    rows = list(_lines(claims, planned))
    speedups = {
        figure.figure: found
        for figure in claims.figures
        if (found := planned.speedup(figure.ours)) is not None
    }
    return Table(
        name="comparison",
        title="Published numbers and ours",
        frame=DataFrame(rows, dtype=object).astype({"ours_n": "Int64"}),
        csv=CSV,
        columns=COLUMNS,
        about=("experiment", "metric", "trial"),
        stub=2,
        notes=[
            "In the authors' notebook: none where it shows no such number, – where that is not "
            "known. In brackets what notebooks of other people show.",
            "Ours is – where the trial is not planned.",
            "95 % interval: by group where the metric has one, else Wilson's. A bracket behind a "
            "claim is Wilson's interval of its share of its n.",
            *sentences(results),
            "Claim inside: whether the claim lies in our interval, where the items are the same; a "
            "claim with an error of its own (the bracket) counts with it: yes where the interval "
            "of the difference, put together from both (Newcombe), holds 0.",
            WILSON_NOTE,
            BY_GROUP_NOTE,
            *(f"{name}: {speedup.note}." for name, speedup in speedups.items()),
            *(f"{number}: {text}" for number, text in enumerate(claims.notes.values(), start=1)),
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0.

    Raise BadInput, and write nothing, if the claims have a mistake or a planned trial's files lack
    a metric that a claim is compared with.
    """
    parser = table_parser(__doc__)
    parser.add_argument(
        "--claims", type=Path, required=True, help="YAML file of the published numbers"
    )
    arguments = parser.parse_args(argv)
    results = results_of(arguments)
    return write_forms(make(results, read_claims(arguments.claims)), results, arguments)


if __name__ == "__main__":
    run(main)
