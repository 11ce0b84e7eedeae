"""The page on which people compare answers of two models without knowing whose they are.

`prefmake rate` writes rating.html, for the raters, and key.json, for nobody else: it says whose
each answer is.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, printable
from scripts.common.files import (
    Row,
    damaged,
    read_object,
    read_table,
    sha256,
    write_json,
    write_text,
)
from scripts.common.methods import BASE
from scripts.common.texts import cut, worded
from scripts.rating.key import Contest, Item, Key, Model, keyed, read_key
from scripts.report.text import allowed

if TYPE_CHECKING:
    from pandas import DataFrame

PARTS = Path(__file__).parent / "page"
COLUMNS = ("set", "id", "text", "group", "prompt")


@dataclass(frozen=True)
class Asked:
    """What is to be compared.

    Attributes
    ----------
    experiment
        Only this one, or None for all.
    sets
        Sets of prompts, or None for all that are scored.
    trials
        `{trial}` (its lowest seed) or `{trial}/seed-{seed}`, or None for every trial.
    against
        What each is compared with, named likewise, or "base".
    most
        Comparisons of two models.
    seed
        Of the draw of prompts.
    question
        What raters are asked.
    """

    experiment: str | None = None
    sets: list[str] | None = None
    trials: list[str] | None = None
    against: Iterable[str] = (BASE,)
    most: int = 50
    seed: int = 0
    question: str = "Which answer is better?"


# ---------------------------------------------------------------------------------- what there is


@dataclass(frozen=True, eq=False)
class Subject:
    """A trial with one seed, or a base, whose answers may be compared."""

    root: Path
    folder: str
    experiment: str
    name: str
    seed: int | None
    sets: dict[str, Row]
    """How each set of prompts was answered."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called in `Asked`."""
        if self.seed is None:
            return (BASE,)
        return self.name, self.folder.removeprefix("trials/")

    @property
    def generations(self) -> Path:
        """The file of its answers."""
        return self.root / self.folder / "generations.parquet"

    @cached_property
    def answers(self) -> "DataFrame":
        """Each set, id, text, group and prompt; texts are cut as they are scored, and stripped.

        Prompts that also stand in the rows of training, and so are not scored, are missing.
        """
        from pandas import DataFrame, concat

        found = _columns(self.generations, ["set", "id", "text"])
        parts = []
        for name, how in self.sets.items():
            part = found[found["set"] == name].merge(self._rows(how), on="id")
            ends = how["answer_after"], how["answer_before"]
            parts.append(part.assign(text=[cut(text, *ends) for text in part["text"]]))
        return concat(parts) if parts else DataFrame(columns=COLUMNS)

    def _rows(self, how: Row) -> "DataFrame":
        def read(name: str, columns: list[str]) -> "DataFrame":
            path = self.root / f"{name}.parquet"
            if not path.is_file():
                raise BadInput(f"{path}: no such file; a finished run has it")
            return _columns(path, columns)

        rows = read(f"data/{how['dataset']}/{how['split']}", ["id", "group", "prompt"])
        if how["overlap"]:
            rows = rows[~rows["id"].isin(read(f"overlaps/{how['overlap']}", ["id"])["id"])]
        # A group of whatever set: sets may ask one dataset.
        return rows.assign(group=f"{how['dataset']}/" + rows["group"])


def _columns(path: Path, names: list[str]) -> "DataFrame":
    """Return columns of a Parquet file. Raise BadInput where it was cut or edited."""
    table = read_table(path)
    if lacks := sorted(set(names) - set(table.column_names)):
        raise damaged(path, f"no column {lacks[0]}")
    return table.select(names).to_pandas()


def subjects_in(root: Path) -> list[Subject]:
    """Return the bases, and the trials by name and seed.

    Raise BadInput where a metrics.json does not say whose it is, or where there is none.
    """
    found = []
    for pattern in ("bases/*/metrics.json", "trials/*/seed-*/metrics.json"):
        for path in sorted(root.glob(pattern)):
            metrics = read_object(path)
            try:
                sets = {name: part["settings"] for name, part in metrics.get("sets", {}).items()}
                folder = path.parent.relative_to(root).as_posix()
                experiment, name, seed = (metrics[key] for key in ("experiment", "name", "seed"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                text = f"{path}: not a metrics.json of a base or trial: {error}"
                raise BadInput(text) from None
            found.append(Subject(root, folder, experiment, name, seed, sets))
    if not found:
        raise BadInput(f"{root}: found no metrics.json; a finished run has them")
    return sorted(found, key=lambda it: (it.seed is not None, it.name, it.seed or 0))


def opponents(subjects: list[Subject], asked: Asked) -> Iterator[tuple[Subject, Subject]]:
    """Yield each two models of one experiment that are to be compared, once.

    Raise BadInput for what is asked for and is not there.
    """
    if asked.most < 1:
        raise BadInput(f"--most: found {asked.most}; allowed: 1 or more")
    experiments = sorted({it.experiment for it in subjects})
    if asked.experiment is not None:
        _known("--experiment", [asked.experiment], experiments)
        experiments = [asked.experiment]
    subjects = [it for it in subjects if it.experiment in experiments]
    _known("--set", asked.sets, sorted({name for it in subjects for name in it.sets}))
    trials = sorted({it.name for it in subjects if it.seed is not None})
    allowed, more = [BASE, *trials], [name for it in subjects for name in it.names]
    _known("--trial", asked.trials, allowed, more)
    _known("--against", asked.against, allowed, more)
    for experiment in experiments:
        own = [it for it in subjects if it.experiment == experiment]
        seen = set()
        for second in _named(own, asked.against):
            for first in _named(own, asked.trials or trials):
                two = frozenset((first.folder, second.folder))
                if len(two) == 2 and two not in seen:
                    seen.add(two)
                    yield first, second


def _known(
    option: str, names: Iterable[str] | None, allowed: list[str], more: Iterable[str] = ()
) -> None:
    for name in names or []:
        if name not in allowed and name not in more:
            raise BadInput(f"{option}: found {name!r}; allowed: {', '.join(allowed)}")


def _named(subjects: list[Subject], names: Iterable[str]) -> list[Subject]:
    """Return the first model of each name, which for a trial is the one with its lowest seed."""
    found = [next((it for it in subjects if name in it.names), None) for name in names]
    return [it for it in dict.fromkeys(found) if it is not None]


# ------------------------------------------------------------------------------------- comparisons


def make(subjects: list[Subject], asked: Asked, secret: str) -> tuple[Key, Row]:
    """Return the key, and what the page holds: items in an order that says nothing.

    Raise BadInput where there is nothing to compare.
    """
    contests: list[Contest] = []
    shown: list[Row] = []
    models: dict[str, Model] = {}
    used: Counter[tuple[str, str]] = Counter()
    for trial, against in opponents(subjects, asked):
        both, identical = different(trial, against, asked.sets)
        if not both and not identical:
            continue
        kept = drawn(both, asked, trial.experiment, used)
        folders = trial.folder, against.folder
        items, texts = blinded(kept, folders, secret)
        contests.append(
            Contest(
                trial=trial.folder,
                against=against.folder,
                prompts=len(both) + identical,
                identical=identical,
                items=items,
            )
        )
        shown += texts
        for it in (trial, against):
            models[it.folder] = Model(
                experiment=it.experiment,
                name=it.name,
                seed=it.seed,
                generations=sha256(it.generations),
            )
    if not shown:
        raise BadInput(
            "nothing to compare: these models answered no prompt of these sets differently"
        )
    page = {"question": asked.question, "items": sorted(shown, key=lambda item: item["id"])}
    page = {"id": keyed(secret, "page", page)[:16], **page}
    key = Key(
        page=str(page["id"]),
        secret=secret,
        question=asked.question,
        models=dict(sorted(models.items())),
        contests=contests,
    )
    return key, page


def different(trial: Subject, against: Subject, sets: list[str] | None) -> tuple[list[Row], int]:
    """Return the prompts that two models answered differently, and how many they answered alike.

    Each has set, id, group, prompt, and the texts `text_x` of the trial and `text_y` of the other.
    """
    asked = [name for name, how in trial.sets.items() if (name in sets if sets else how["scored"])]
    mine = trial.answers[trial.answers["set"].isin(asked)]
    both = mine.merge(against.answers[["set", "id", "text"]], on=["set", "id"])
    alike = both["text_x"] == both["text_y"]
    return both[~alike].to_dict("records"), int(alike.sum())


def drawn(found: list[Row], asked: Asked, experiment: str, used: Counter[Any]) -> list[Row]:
    """Return at most so many prompts, drawn with a seed; those used least before come first.

    A prompt that recurs shows the same answer of the model that all others are compared with, and
    so could give it away.
    """

    def place(it: Row) -> tuple[int, str]:
        text = json.dumps([asked.seed, it["set"], it["id"]])
        return used[experiment, it["group"]], hashlib.sha256(text.encode()).hexdigest()

    kept = sorted(found, key=place)[: asked.most]
    used.update((experiment, it["group"]) for it in kept)
    return kept


def blinded(
    kept: list[Row], folders: tuple[str, str], secret: str
) -> tuple[dict[str, Item], list[Row]]:
    """Return two models' comparisons as the key and as the page have them.

    Each model stands on the left in half of them; the secret says in which half.
    """
    names = {keyed(secret, "item", *sorted(folders), it["set"], it["id"]): it for it in kept}
    items, shown = {}, []
    for place, name in enumerate(sorted(names, key=lambda name: keyed(secret, "side", name))):
        it, texts = names[name], [names[name]["text_x"], names[name]["text_y"]]
        items[name[:16]] = Item(
            set=it["set"], prompt=it["id"], group=it["group"], left=folders[place % 2]
        )
        shown.append(
            {
                "id": name[:16],
                "prompt": [
                    {"role": said["role"], "content": worded(said)} for said in it["prompt"]
                ],
                "left": texts[place % 2],
                "right": texts[1 - place % 2],
            }
        )
    return dict(sorted(items.items())), shown


# ------------------------------------------------------------------------------------------- page


def page_html(page: Row) -> str:
    """Return the page as one file; its policy lets it load nothing and run its own script only."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(
        page=as_script(page), style=style, script=script, digests=[allowed(style), allowed(script)]
    )


def as_script(value: Any) -> str:
    """Return a value as JSON in which no text can end the script element around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def told(key: Key, page: Row) -> Iterator[str]:
    """Yield what the researcher should know: what is compared, and what could give a model away."""
    for contest in key.contests:
        trial, against = key.models[contest.trial], key.models[contest.against]
        yield (
            f"{trial.experiment}: {trial.name} against {against.name}: {len(contest.items)} "
            f"comparisons of {contest.prompts} prompts, {contest.identical} of them answered alike"
        )
    names = sorted({model.name.lower() for model in key.models.values()})
    answers = [item[side].lower() for item in page["items"] for side in ("left", "right")]
    telling = sum(any(name in answer for name in names) for answer in answers)
    if telling:
        yield (
            f"{telling} of {len(answers)} answers contain the name of a model: raters may know "
            "whose they are"
        )


def write(results: Path, out: Path, asked: Asked) -> None:
    """Write rating.html and key.json, and print what is compared.

    With a key that is already there the page is made again, byte for byte. Raise BadInput where it
    would be another page: the ratings of the first one could no longer be read.
    """
    place = out / "key.json"
    subjects = subjects_in(results)
    before = read_key(place) if place.exists() else None
    key, page = make(subjects, asked, before.secret if before else secrets.token_hex(32))
    if before and before.page != key.page:
        raise BadInput(
            f"{place}: is the key of another page, whose ratings need it; move it away, or write "
            "into another folder"
        )
    html = page_html(page)
    write_json(place, key.model_dump())
    write_text(out / "rating.html", html)
    for line in told(key, page):
        print(printable(line))
    print(f"for raters: {out / 'rating.html'}")
    print(f"for nobody else: {place}")
