"""What raters chose on the page of scripts.rating.ask: win rates, strengths, agreement.

    python -m scripts.rating.ratings --root results/demo --key results/demo/rating/key.json \\
        --out ratings.json --csv ratings.csv --md ratings.md --tex ratings.tex a.json b.json
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, sha256, write_json
from scripts.rating.figures import (
    Agreement,
    Rating,
    agreement,
    bradley_terry,
    left_share,
    win_rate,
)
from scripts.rating.key import (
    SKIP,
    TIE,
    Closed,
    Contest,
    Item,
    Key,
    Model,
    read_checked,
    read_key,
)
from scripts.report.columns import figure_names, figure_values
from scripts.report.command import FORMS, write_texts
from scripts.report.read import BY_GROUP, WILSON, Figure
from scripts.report.render import (
    Column,
    Show,
    Table,
    change,
    count,
    decimals,
    shown,
    shown_interval,
)

# ------------------------------------------------------------------------------------ rating files

SAVED = "a file that the rating page saved"


class Choice(Closed):
    """What a rater chose of an item."""

    item: str
    choice: Literal["left", "right", "tie", "skip"]


class Sheet(Closed):
    """A rater's choices as the page saves them."""

    page: str
    rater: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    ratings: list[Choice]


@dataclass(frozen=True)
class Chosen:
    """A choice, and the file that it stands in."""

    choice: str
    file: Path


def read_sheet(path: Path, key: Key) -> Sheet:
    """Returns a rating file. Raises BadInput where it is not one of the key's page."""
    sheet = read_checked(path, Sheet, SAVED)
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


def choices(paths: list[Path], key: Key) -> dict[str, dict[str, Chosen]]:
    """Returns by rater what each item was rated; a skip counts where there is nothing else.

    Raises BadInput where two files of one rater say different things.
    """
    found: dict[str, dict[str, Chosen]] = {}
    for path in paths:
        sheet = read_sheet(path, key)
        mine = found.setdefault(sheet.rater, {})
        for made in sheet.ratings:
            before = mine.get(made.item)
            if before is None or before.choice == SKIP:
                mine[made.item] = Chosen(made.choice, path)
            elif made.choice not in (before.choice, SKIP):
                raise BadInput(
                    f"{path}: item {made.item}: {sheet.rater!r} chose {made.choice}, and "
                    f"{before.choice} in {before.file}; allowed: files of one rater that agree"
                )
    return dict(sorted(found.items()))


def ratings_of(found: dict[str, dict[str, Chosen]], key: Key) -> list[Rating]:
    """Returns all ratings, without what was skipped, in an order that the files do not change."""
    items = key.items()
    return [
        _rating(rater, name, chosen.choice, *items[name], key)
        for rater, mine in found.items()
        for name, chosen in sorted(mine.items())
        if chosen.choice != SKIP
    ]


def _rating(rater: str, name: str, choice: str, contest: Contest, item: Item, key: Key) -> Rating:
    trial_chosen = (choice == "left") == (item.left == contest.trial)
    return Rating(
        rater=rater,
        item=name,
        group=item.group,
        trial=contest.trial,
        against=contest.against,
        choice=choice,
        score=0.5 if choice == TIE else float(trial_chosen),
    )


# ----------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Result:
    """What was said of two models."""

    contest: Contest
    trial: Model
    against: Model
    wins: int
    ties: int
    losses: int
    skipped: int
    win_rate: Figure
    left: Figure
    strength: Figure
    agreement: Agreement

    def figure(self, key: str) -> Figure:
        """Returns a figure by its name."""
        return getattr(self, key)


def results_of(key: Key, found: dict[str, dict[str, Chosen]]) -> list[Result]:
    """Returns what was said of each two models of the key."""
    ratings = ratings_of(found, key)
    experiments = dict.fromkeys(key.models[it.trial].experiment for it in ratings)
    strengths = {}
    for experiment in experiments:
        mine = [it for it in ratings if key.models[it.trial].experiment == experiment]
        strengths |= bradley_terry(mine)
    return [_result(key, contest, ratings, found, strengths) for contest in key.contests]


def _result(
    key: Key,
    contest: Contest,
    ratings: list[Rating],
    found: dict[str, dict[str, Chosen]],
    strengths: dict[tuple[str, str], Figure],
) -> Result:
    mine = [rating for rating in ratings if rating.item in contest.items]
    scores = [rating.score for rating in mine]
    return Result(
        contest=contest,
        trial=key.models[contest.trial],
        against=key.models[contest.against],
        wins=scores.count(1.0),
        ties=scores.count(0.5),
        losses=scores.count(0.0),
        skipped=sum(
            chosen.choice == SKIP and name in contest.items
            for sheet in found.values()
            for name, chosen in sheet.items()
        ),
        win_rate=win_rate(mine),
        left=left_share(mine),
        strength=strengths.get((contest.trial, contest.against), Figure()),
        agreement=agreement(mine),
    )


def as_json(key: Key, found: dict[str, dict[str, Chosen]], results: list[Result]) -> Row:
    """Returns everything as ratings.json holds it."""
    ratings = ratings_of(found, key)
    return {
        "page": key.page,
        "question": key.question,
        "raters": {
            rater: _counts([chosen.choice for chosen in sheet.values()])
            for rater, sheet in found.items()
        },
        "agreement": asdict(agreement(ratings)),
        "left": asdict(left_share(ratings)),
        "contests": [_contest_json(result) for result in results],
    }


def _counts(made: list[str]) -> dict[str, int]:
    return {choice: made.count(choice) for choice in ("left", "tie", "right", "skip")}


def _contest_json(result: Result) -> Row:
    contest = result.contest
    return {
        "trial": contest.trial,
        "against": contest.against,
        "prompts": contest.prompts,
        "identical": contest.identical,
        "items": len(contest.items),
        **{name: getattr(result, name) for name in ("wins", "ties", "losses", "skipped")},
        **{name: asdict(result.figure(name)) for name in ("win_rate", "strength", "left")},
        "agreement": asdict(result.agreement),
    }


# ------------------------------------------------------------------------------------------- table


def _called(model: Model) -> str:
    return f"{model.name} (base)" if model.seed is None else model.name


def _model(header: str, part: str) -> Column:
    """Returns a column of one of the two models."""
    names = {"trial": ("trial", "seed"), "against": ("against", "against_seed")}[part]
    return Column(
        header,
        text=lambda result: _called(getattr(result, part)),
        names=names,
        values=lambda result: (getattr(result, part).name, getattr(result, part).seed),
        align="l",
    )


def _figure(header: str, key: str, text: Callable[[Figure], str]) -> Column:
    """Returns a column of a figure; the CSV has n, groups and all intervals too."""
    return Column(
        header,
        text=lambda result: text(result.figure(key)),
        names=figure_names(key),
        values=lambda result: figure_values(result.figure(key)),
    )


def _with_interval(show: Show) -> Callable[[Figure], str]:
    """Returns a way to show a figure with its interval by group, if it has one."""

    def text(found: Figure) -> str:
        bounds = found.interval(BY_GROUP)
        return shown(found.value, show) + (
            "" if None in bounds else f" {shown_interval(bounds, show)}"
        )

    return text


def _count(header: str, name: str, read: Callable[[Result], int]) -> Column:
    return Column(
        header,
        text=lambda result: count(read(result)),
        names=(name,),
        values=lambda result: (read(result),),
    )


COLUMNS = (
    Column(
        "Experiment",
        text=lambda result: result.trial.experiment,
        names=("experiment",),
        values=lambda result: (result.trial.experiment,),
        align="l",
    ),
    _model("Trial", "trial"),
    _model("Against", "against"),
    _figure("Win rate\n[by group]", "win_rate", _with_interval(decimals(2))),
    _count("Won", "wins", lambda result: result.wins),
    _count("Tied", "ties", lambda result: result.ties),
    _count("Lost", "losses", lambda result: result.losses),
    _count("Skipped", "skipped", lambda result: result.skipped),
    _count("Prompts", "items", lambda result: len(result.contest.items)),
    _figure("Bradley–Terry\n[by group]", "strength", _with_interval(change(2))),
    _figure("Left", "left", lambda found: shown(found.value, decimals(2))),
    Column(
        "α",
        text=lambda result: shown(result.agreement.nominal, decimals(2)),
        names=("alpha_nominal", "alpha_ordinal", "raw_agreement", "doubly_rated"),
        values=lambda result: (
            result.agreement.nominal,
            result.agreement.ordinal,
            result.agreement.raw,
            result.agreement.items,
        ),
    ),
)
ALONE = Column(
    "[Wilson]", text=lambda result: shown_interval(result.win_rate.interval(WILSON), decimals(2))
)
"""Stands behind the win rate where one rater makes ratings independent items."""


def make(key: Key, found: dict[str, dict[str, Chosen]], results: list[Result]) -> Table:
    """Returns the table: each two models that were compared, and what raters said of them."""
    columns = (*COLUMNS[:4], ALONE, *COLUMNS[4:]) if len(found) == 1 else COLUMNS
    return Table(
        name="ratings",
        title="Blind ratings by people",
        columns=columns,
        rows=results,
        notes=list(_notes(key, found, results)),
        subject=lambda result: (result.contest.trial, result.contest.against),
    )


def _notes(key: Key, found: dict[str, dict[str, Chosen]], results: list[Result]) -> Iterator[str]:
    ratings = ratings_of(found, key)
    raters, left = len(found), left_share(ratings)
    yield (
        f"Raters were asked “{key.question}” of two answers side by side, in random order and "
        f"without names: {count(len(ratings))} ratings by {count(raters)} "
        f"{'rater' if raters == 1 else 'raters'}."
    )
    yield "Win rate: share of ratings that the trial won; a tie is half."
    identical = sum(result.contest.identical for result in results)
    prompts = sum(result.contest.prompts for result in results)
    if identical:
        yield (
            f"{count(identical)} of {count(prompts)} pairs of answers are identical, and were not "
            "compared."
        )
    crossed = ", and raters beside them" if raters > 1 else ""
    yield f"By group: 95 % bootstrap interval; whole groups of prompts are drawn{crossed}."
    if raters == 1:
        yield "Wilson: 95 % score interval of a share, items taken as independent."
        yield "One rater: both intervals say what this rater prefers, not what people do."
    yield "Bradley–Terry: log odds that the trial wins, fitted to all ratings of the experiment."
    yield _agreement_note(agreement(ratings))
    yield (
        "Left: share of the left answer among ratings that are no ties; "
        f"{_with_interval(decimals(2))(left)} over all."
    )


def _agreement_note(found: Agreement) -> str:
    if not found.items:
        return "Agreement: no item was rated by two raters."
    show = decimals(2)
    return (
        f"Agreement: Krippendorff's α {shown(found.nominal, show)} (nominal), "
        f"{shown(found.ordinal, show)} (ordinal: left, tie, right), over {count(found.items)} "
        "items that two or more raters rated; of the pairs of ratings of one item "
        f"{show(found.raw)} are equal."
    )


# ------------------------------------------------------------------------------------ command line


def check_fresh(root: Path, key: Key) -> None:
    """Raises BadInput where answers have changed since the page was made."""
    for folder, model in key.models.items():
        path = root / folder / "generations.parquet"
        if not path.is_file():
            found = "no such file, and raters saw answers of it"
        elif sha256(path) != model.generations:
            found = "changed since the page was made, and raters saw other answers"
        else:
            continue
        raise BadInput(f"{path}: {found}; allowed with --stale-ok (make: STALE_OK=yes)")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.rating.ratings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", help="what raters saved")
    parser.add_argument("--key", type=Path, required=True, help="the page's key.json")
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--stale-ok", action="store_true", help="even if answers changed since the page was made"
    )
    parser.add_argument("--mark", help="what must be known before any number is read")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    for form in FORMS:
        parser.add_argument(f"--{form}", type=Path, required=True, help=f"the {form} to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Writes ratings.json and the table; returns 0.

    Raises BadInput, and writes nothing, if a file is not of this page or contradicts another, or
    if answers have changed.
    """
    arguments = parse(argv)
    key = read_key(arguments.key)
    if not arguments.stale_ok:
        check_fresh(arguments.root, key)
    found = choices(arguments.files, key)
    results = results_of(key, found)
    table = make(key, found, results)
    content = as_json(key, found, results)
    write_texts(replace(table, mark=arguments.mark), arguments)
    write_json(arguments.out, content)
    return 0


if __name__ == "__main__":
    run(main)
