"""What raters chose, as a table: win rates, strengths, agreement.

`prefmake ratings` writes ratings.json beside the page's key, and tables/ratings.{csv,md,tex}.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from scripts.common.cli import BadInput
from scripts.common.files import Row, sha256, write_json
from scripts.rating.key import SKIP, TIE, Closed, Contest, Key, Model, read_checked, read_key
from scripts.rating.statistics import (
    BY_GROUP,
    COLUMNS,
    WILSON,
    Agreement,
    Estimate,
    agreement,
    bradley_terry,
    left_share,
    win_rate,
)
from scripts.report.tables.write import Column, Table, write_texts
from scripts.report.text import Show, change, count, decimals, shown, shown_interval

if TYPE_CHECKING:
    from pandas import DataFrame

# ------------------------------------------------------------------------------------ rating files


class Choice(Closed):
    """What a rater chose for an item."""

    item: str
    choice: Literal["left", "right", "tie", "skip"]


class Sheet(Closed):
    """A rater's choices as the page saves them."""

    page: str
    rater: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    ratings: list[Choice]


def read_sheet(path: Path, key: Key) -> Sheet:
    """Return a rating file. Raise BadInput where it is not one of the key's page."""
    sheet = read_checked(path, Sheet, "a file that the rating page saved")
    if sheet.page != key.page:
        raise BadInput(f"{path}: page: found {sheet.page!r}; allowed: {key.page!r}, the key's")
    items, seen = key.items(), set()
    for made in sheet.ratings:
        if made.item not in items:
            raise BadInput(f"{path}: item: found {made.item!r}; allowed: the items of the page")
        if made.item in seen:
            raise BadInput(f"{path}: item: found {made.item} twice; allowed: each item once")
        seen.add(made.item)
    return sheet


def read_choices(paths: list[Path], key: Key) -> "DataFrame":
    """Return rater, item, choice and file, sorted; a skip only where a rater chose nothing else.

    Raise BadInput where two files of one rater contradict each other.
    """
    from pandas import DataFrame

    rows = [
        (sheet.rater, made.item, made.choice, str(path))
        for path in paths
        for sheet in [read_sheet(path, key)]
        for made in sheet.ratings
    ]
    found = DataFrame(rows, columns=["rater", "item", "choice", "file"])
    whose = ["rater", "item"]
    made = found[found["choice"] != SKIP].drop_duplicates([*whose, "choice"])
    twice = made[made.duplicated(whose)]
    if not twice.empty:
        second = twice.iloc[0]
        first = made[(made[whose] == second[whose]).all(axis=1)].iloc[0]
        raise BadInput(
            f"{second.file}: item {second['item']}: {second.rater!r} chose {second.choice}, and "
            f"{first.choice} in {first.file}; allowed: files of one rater that agree"
        )
    found = found.sort_values("choice", key=lambda choice: choice == SKIP, kind="stable")
    return found.drop_duplicates(whose).sort_values(whose, ignore_index=True)


def ratings_of(choices: "DataFrame", key: Key) -> "DataFrame":
    """Return all ratings as `scripts.rating.statistics` takes them, without what was skipped."""
    items = key.items()
    made = choices[choices["choice"] != SKIP]
    of = [items[name] for name in made["item"]]
    won = [
        (choice == "left") == (item.left == contest.trial)
        for choice, (contest, item) in zip(made["choice"], of, strict=True)
    ]
    found = made.assign(
        group=[item.group for _, item in of],
        trial=[contest.trial for contest, _ in of],
        against=[contest.against for contest, _ in of],
        score=[
            0.5 if choice == TIE else float(trial)
            for choice, trial in zip(made["choice"], won, strict=True)
        ],
    )
    return found[[*COLUMNS]].reset_index(drop=True)


# ----------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Result:
    """What raters said of two models."""

    contest: Contest
    trial: Model
    against: Model
    wins: int
    ties: int
    losses: int
    skipped: int
    win_rate: Estimate
    strength: Estimate
    left: Estimate
    agreement: Agreement


def results_of(key: Key, choices: "DataFrame") -> list[Result]:
    """Return what was said of each two models of the key."""
    ratings = ratings_of(choices, key)
    strengths: dict[tuple[str, str], Estimate] = {}
    experiments = ratings["trial"].map(lambda folder: key.models[folder].experiment)
    for _, part in ratings.groupby(experiments):
        strengths |= bradley_terry(part)
    found = []
    for contest in key.contests:
        mine = ratings[ratings["item"].isin(contest.items)]
        of = choices[choices["item"].isin(contest.items)]
        found.append(
            Result(
                contest=contest,
                trial=key.models[contest.trial],
                against=key.models[contest.against],
                wins=int((mine["score"] == 1).sum()),
                ties=int((mine["score"] == 0.5).sum()),
                losses=int((mine["score"] == 0).sum()),
                skipped=int((of["choice"] == SKIP).sum()),
                win_rate=win_rate(mine),
                strength=strengths.get((contest.trial, contest.against), Estimate()),
                left=left_share(mine),
                agreement=agreement(mine),
            )
        )
    return found


def as_json(key: Key, choices: "DataFrame", results: list[Result]) -> Row:
    """Return everything as ratings.json has it."""
    ratings = ratings_of(choices, key)
    return {
        "page": key.page,
        "question": key.question,
        "raters": {
            str(rater): {it: int((made == it).sum()) for it in ("left", "tie", "right", "skip")}
            for rater, made in choices.groupby("rater")["choice"]
        },
        "agreement": asdict(agreement(ratings)),
        "left": asdict(left_share(ratings)),
        "contests": [
            {key: getattr(result.contest, key) for key in ("trial", "against", "prompts")}
            | {"identical": result.contest.identical, "items": len(result.contest.items)}
            | {key: getattr(result, key) for key in ("wins", "ties", "losses", "skipped")}
            | {key: asdict(getattr(result, key)) for key in ("win_rate", "strength", "left")}
            | {"agreement": asdict(result.agreement)}
            for result in results
        ],
    }


# ------------------------------------------------------------------------------------------- table


def values(results: list[Result]) -> "DataFrame":
    """Return the rows of the CSV: a row for two models, every value unrounded."""
    from pandas import DataFrame

    def measured(name: str, found: Estimate) -> Row:
        bounds = {
            f"{name}_{method.replace(' ', '_')}_{side}": bound
            for method in (WILSON, BY_GROUP)
            for side, bound in zip(("low", "high"), found.interval(method), strict=True)
        }
        return {name: found.value, f"{name}_n": found.n, f"{name}_groups": found.groups, **bounds}

    return DataFrame(
        [
            {
                "experiment": it.trial.experiment,
                "trial": it.trial.name,
                "seed": it.trial.seed,
                "against": it.against.name,
                "against_seed": it.against.seed,
                **measured("win_rate", it.win_rate),
                **{key: getattr(it, key) for key in ("wins", "ties", "losses", "skipped")},
                "items": len(it.contest.items),
                **measured("strength", it.strength),
                **measured("left", it.left),
                "alpha_nominal": it.agreement.nominal,
                "alpha_ordinal": it.agreement.ordinal,
                "raw_agreement": it.agreement.raw,
                "doubly_rated": it.agreement.items,
            }
            for it in results
        ],
        dtype=object,
    )


SHARE, STRENGTH = decimals(2), change(2)


def _by_group(header: str, name: str, show: Show) -> Column:
    bounds = (f"{name}_group_bootstrap_low", f"{name}_group_bootstrap_high")
    return Column(f"{header}\n[by group]", name, show, bracket=bounds)


COLUMNS_READ = (
    Column("Experiment", "experiment", align="l"),
    Column("Trial", "_trial", align="l"),
    Column("Against", "_against", align="l"),
    _by_group("Win rate", "win_rate", SHARE),
    Column("[Wilson]", show=SHARE, bracket=("win_rate_wilson_low", "win_rate_wilson_high")),
    Column("Won", "wins", count),
    Column("Tied", "ties", count),
    Column("Lost", "losses", count),
    Column("Skipped", "skipped", count),
    Column("Prompts", "items", count),
    _by_group("Bradley–Terry", "strength", STRENGTH),
    Column("Left", "left", SHARE),
    Column("α", "alpha_nominal", SHARE),
)
"""What people read; Wilson's interval only of one rater, whose items it takes as independent."""


def table(key: Key, choices: "DataFrame", results: list[Result]) -> Table:
    """Return the table: a row for two models that were compared."""

    def called(model: Model) -> str:
        return f"{model.name} (base)" if model.seed is None else model.name

    frame = values(results)
    names = {
        "_trial": [called(it.trial) for it in results],
        "_against": [called(it.against) for it in results],
    }
    several = choices["rater"].nunique() > 1
    return Table(
        name="ratings",
        title="Blind ratings by people",
        frame=frame.assign(**names),
        csv=list(frame.columns),
        columns=tuple(it for it in COLUMNS_READ if it.source or not several),
        notes=list(notes(key, choices, results)),
    )


def notes(key: Key, choices: "DataFrame", results: list[Result]) -> Iterator[str]:
    """Yield what the numbers are and rest on."""
    ratings = ratings_of(choices, key)
    raters, left = choices["rater"].nunique(), left_share(ratings)
    yield (
        f"Raters were asked “{key.question}” of two answers side by side, in random order and "
        f"without names: {len(ratings):,} ratings by {raters:,} "
        f"{'rater' if raters == 1 else 'raters'}."
    )
    yield "Win rate: share of ratings that the trial won; a tie is half."
    identical = sum(it.contest.identical for it in results)
    if identical:
        prompts = sum(it.contest.prompts for it in results)
        yield f"{identical:,} of {prompts:,} pairs of answers are identical and were not compared."
    crossed = ", and raters beside them" if raters > 1 else ""
    yield f"By group: 95 % bootstrap interval; whole groups of prompts are drawn{crossed}."
    if raters == 1:
        yield "Wilson: 95 % score interval of a share, items taken as independent."
        yield "One rater: both intervals say what this rater prefers, not what people do."
    yield "Bradley–Terry: log odds that the trial wins, fitted to all ratings of the experiment."
    found = agreement(ratings)
    if found.items:
        yield (
            f"Agreement: Krippendorff's α {shown(found.nominal, SHARE)} (nominal), "
            f"{shown(found.ordinal, SHARE)} (ordinal: left, tie, right), over {found.items:,} "
            "items that two or more raters rated; of the pairs of ratings of one item "
            f"{shown(found.raw, SHARE)} are equal."
        )
    else:
        yield "Agreement: no item was rated by two raters."
    yield (
        "Left: share of the left answer among ratings that are not ties; "
        f"{shown(left.value, SHARE)} {shown_interval(*left.interval(BY_GROUP), SHARE)} over all."
    )


# ------------------------------------------------------------------------------------ command line


def check_fresh(root: Path, key: Key) -> None:
    """Raise BadInput where answers have changed since the page was made."""
    for folder, model in key.models.items():
        path = root / folder / "generations.parquet"
        if not path.is_file():
            found = "no such file, and raters saw answers of it"
        elif sha256(path) != model.generations:
            found = "changed since the page was made, and raters saw other answers"
        else:
            continue
        raise BadInput(f"{path}: {found}; allowed with --stale-ok")


def write(files: list[Path], results: Path, page: Path, stale_ok: bool = False) -> None:
    """Write ratings.json into the page's folder, and the table among those of the results.

    Raise BadInput, and write nothing, if a file is not of this page or contradicts another, or if
    answers have changed and `stale_ok` does not allow it.
    """
    key = read_key(page / "key.json")
    if not stale_ok:
        check_fresh(results, key)
    choices = read_choices(files, key)
    found = results_of(key, choices)
    tables = results / "tables"
    paths: dict[str, Path | None] = {
        form: tables / f"ratings.{form}" for form in ("csv", "md", "tex")
    }
    write_texts(table(key, choices, found), paths)
    write_json(page / "ratings.json", as_json(key, choices, found))
