"""A page on which people compare answers of two models without knowing whose they are.

    python -m scripts.rating.ask --root results/demo --out results/demo/rating

Writes rating.html, for the raters, and key.json, for nobody else: it says whose each answer is.
"""

import argparse
import base64
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_json, read_rows, sha256, write_json, write_text
from scripts.common.texts import cut
from scripts.rating.key import Contest, Item, Key, Model, keyed, read_key
from scripts.report.read import Subject, base_of, trial_of

BASE = "base"
"""Stands for an experiment's base model where a model is named."""
MOST = 50
QUESTION = "Which answer is better?"
PARTS = Path(__file__).parent / "page"
IDENTITY = ("name", "experiment", "seed", "method")

# ---------------------------------------------------------------------------------- what there is


def subjects_in(root: Path) -> dict[str, list[Subject]]:
    """Returns by experiment its base and its trials, those of one name by their seeds.

    Raises BadInput where a metrics.json does not say whose it is.
    """
    found: dict[str, list[Subject]] = {}
    for pattern in ("bases/*/metrics.json", "trials/*/seed-*/metrics.json"):
        for path in sorted(root.glob(pattern)):
            subject = _subject(root, path)
            found.setdefault(subject.experiment, []).append(subject)
    for subjects in found.values():
        subjects.sort(key=lambda it: (it.seed is not None, it.name, it.seed or 0))
    return found


def _subject(root: Path, path: Path) -> Subject:
    """Returns the base or trial whose metrics.json it is."""
    try:
        metrics = read_json(path)
        name, experiment, seed, method = (metrics[key] for key in IDENTITY)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a metrics.json of a base or trial: {error}") from None
    part = {"experiment": experiment, "title": experiment, "base": name}
    if method == BASE:
        return base_of(root, part)[0]
    return trial_of(root, part, f"{name}/seed-{seed}", method)


def _named(subjects: list[Subject], name: str) -> Subject | None:
    """Returns the model of a name: `base`, a trial (its lowest seed), or `{trial}/seed-{seed}`."""
    return next(
        (
            it
            for it in subjects
            if (it.method == BASE and name == BASE)
            or (it.method != BASE and name in (it.name, it.folder.removeprefix("trials/")))
        ),
        None,
    )


def _asked(subjects: list[Subject], names: list[str] | None) -> list[Subject]:
    """Returns the models that are named, or every trial with its lowest seed."""
    names = names or [it.name for it in subjects if it.method != BASE]
    found = [_named(subjects, name) for name in dict.fromkeys(names)]
    return [it for it in found if it is not None]


def opponents(
    experiments: dict[str, list[Subject]], trials: list[str] | None, against: list[str]
) -> Iterator[tuple[Subject, Subject]]:
    """Yields each two models of one experiment that are to be compared, once."""
    for subjects in experiments.values():
        seen = set()
        for second in _asked(subjects, against):
            for first in _asked(subjects, trials):
                two = frozenset((first.folder, second.folder))
                if len(two) == 2 and two not in seen:
                    seen.add(two)
                    yield first, second


# ------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class Candidate:
    """A prompt that two models answered differently."""

    set: str
    id: str
    group: str
    """Of whatever set: sets may ask one dataset."""
    prompt: list[Row]
    answers: dict[str, str]
    """By the model's folder."""


class Prompts:
    """The canonical rows behind sets of prompts, each file read once."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[Path, dict[str, Row]] = {}

    def of(self, settings: Row) -> dict[str, Row]:
        """Returns a set's rows by id, less those that stand in the SFT rows and are not scored."""
        rows = self._rows(f"data/{settings['dataset']}/{settings['split']}.parquet")
        overlap = settings["overlap"]
        known = self._rows(f"overlaps/{overlap}.parquet") if overlap else {}
        return {name: row for name, row in rows.items() if name not in known}

    def _rows(self, name: str) -> dict[str, Row]:
        path = self.root / name
        if path not in self.files:
            if not path.is_file():
                raise BadInput(f"{path}: no such file; a finished run has it")
            self.files[path] = {row["id"]: row for row in read_rows(path)}
        return self.files[path]


def answers_of(subject: Subject, set_name: str) -> dict[str, str]:
    """Returns a model's answers by prompt: each cut as it is scored, without blanks around it."""
    how = subject.answering(set_name)
    return {
        row["id"]: cut(row["text"], how["answer_after"], how["answer_before"])
        for row in subject.answers(set_name)
    }


def candidates(
    trial: Subject, against: Subject, sets: list[str] | None, prompts: Prompts
) -> tuple[list[Candidate], int]:
    """Returns the prompts that two models answered differently, and how many they answered alike.

    Of the sets that are named, or of all that are not just for show.
    """
    found, identical = [], 0
    for name in trial.sets:
        asked = name in sets if sets else trial.answering(name)["scored"]
        if not asked or name not in against.sets:
            continue
        rows = prompts.of(trial.answering(name))
        one, other = (answers_of(subject, name) for subject in (trial, against))
        for identity in one:
            if identity not in other or identity not in rows:
                continue
            if one[identity] == other[identity]:
                identical += 1
                continue
            row = rows[identity]
            answers = {trial.folder: one[identity], against.folder: other[identity]}
            group = f"{trial.answering(name)['dataset']}/{row['group']}"
            found.append(Candidate(name, identity, group, row["prompt"], answers))
    return found, identical


def drawn(
    found: list[Candidate], most: int, seed: int, experiment: str, used: Counter
) -> list[Candidate]:
    """Returns at most so many candidates, drawn with a seed; those used least before come first.

    A prompt that recurs shows the same answer of the model that all others are compared with, and
    so could tell it.
    """

    def place(it: Candidate) -> tuple[int, str]:
        text = json.dumps([seed, it.set, it.id])
        return used[experiment, it.group], hashlib.sha256(text.encode()).hexdigest()

    kept = sorted(found, key=place)[:most]
    used.update((experiment, it.group) for it in kept)
    return kept


def contest_of(
    trial: Subject,
    against: Subject,
    found: list[Candidate],
    counts: tuple[int, int],
    secret: str,
) -> tuple[Contest, list[Row]]:
    """Returns two models' comparisons as the key and as the page have them.

    Each model stands on the left in half of them, and which half the secret says.

    Parameters
    ----------
    counts
        How many prompts both answered, and how many of them alike.
    """
    names = {keyed(secret, "item", *sorted(it.answers), it.set, it.id): it for it in found}
    by_side = sorted(names, key=lambda name: keyed(secret, "side", name))
    items, shown = {}, []
    for place, name in enumerate(by_side):
        it, (left, right) = names[name], (trial.folder, against.folder)
        if place % 2:
            left, right = right, left
        short = name[:16]
        items[short] = Item(set=it.set, prompt=it.id, group=it.group, left=left)
        shown.append(
            {
                "id": short,
                "prompt": [{key: said[key] for key in ("role", "content")} for said in it.prompt],
                "left": it.answers[left],
                "right": it.answers[right],
            }
        )
    prompts, identical = counts
    return Contest(
        trial=trial.folder,
        against=against.folder,
        prompts=prompts,
        identical=identical,
        items=dict(sorted(items.items())),
    ), shown


def make(
    pairs: Iterable[tuple[Subject, Subject]],
    sets: list[str] | None,
    most: int,
    seed: int,
    question: str,
    secret: str,
) -> tuple[Key, Row]:
    """Returns the key, and what the page holds: items in an order that says nothing.

    Raises BadInput where there is nothing to compare.
    """
    contests, shown, models = [], [], {}
    used: Counter = Counter()
    rows: Prompts | None = None
    for trial, against in pairs:
        rows = rows or Prompts(trial.root)
        found, identical = candidates(trial, against, sets, rows)
        if not found and not identical:
            continue
        kept = drawn(found, most, seed, trial.experiment, used)
        counts = len(found) + identical, identical
        contest, items = contest_of(trial, against, kept, counts, secret)
        contests.append(contest)
        shown += items
        models |= {it.folder: _model(it) for it in (trial, against)}
    if not shown:
        raise BadInput(
            "nothing to compare: these models answered no prompt of these sets differently"
        )
    shown.sort(key=lambda item: item["id"])
    page = {"question": question, "items": shown}
    page = {"id": keyed(secret, "page", page)[:16], **page}
    key = Key(
        page=page["id"],
        secret=secret,
        question=question,
        models=dict(sorted(models.items())),
        contests=contests,
    )
    return key, page


def _model(subject: Subject) -> Model:
    return Model(
        experiment=subject.experiment,
        name=subject.name,
        seed=subject.seed,
        generations=sha256(subject.root / subject.folder / "generations.parquet"),
    )


# ------------------------------------------------------------------------------------------- page


def page_html(page: Row) -> str:
    """Returns the page as one file; its policy lets it load nothing and run its own script only."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(
        page=as_script(page), style=style, script=script, digests=[digest(style), digest(script)]
    )


def as_script(value: Any) -> str:
    """Returns a value as JSON that no text in it can end the script element around it with."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def digest(text: str) -> str:
    """Returns a script's or style's digest as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# ---------------------------------------------------------------------------------- command line


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.rating.ask",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--experiment", help="this experiment alone")
    parser.add_argument(
        "--sets", nargs="+", help="these sets of prompts; without: all that are not just for show"
    )
    parser.add_argument(
        "--trials", nargs="+",
        help="a trial (its lowest seed) or trial/seed-1 each; without: every trial",
    )  # fmt: skip
    parser.add_argument(
        "--against", nargs="+", default=[BASE],
        help="what each is compared with: base, or trials; several make every pair of them",
    )  # fmt: skip
    parser.add_argument("--most", type=int, default=MOST, help="comparisons of two models at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of prompts")
    parser.add_argument("--question", default=QUESTION, help="what raters are asked")
    return parser.parse_args(argv)


def checked(
    experiments: dict[str, list[Subject]], arguments: argparse.Namespace
) -> dict[str, list[Subject]]:
    """Returns the experiments that are asked for. Raises BadInput for a name that there is not."""
    if not experiments:
        raise BadInput(f"{arguments.root}: found no metrics.json; a finished run has them")
    if arguments.most < 1:
        raise BadInput(f"--most: found {arguments.most}; allowed: 1 or more")
    if arguments.experiment is not None:
        _known("--experiment", arguments.experiment, experiments)
        experiments = {arguments.experiment: experiments[arguments.experiment]}
    everyone = [it for subjects in experiments.values() for it in subjects]
    sets = sorted({name for it in everyone for name in it.sets})
    for name in arguments.sets or []:
        _known("--sets", name, sets)
    for option in ("trials", "against"):
        for name in getattr(arguments, option) or []:
            if _named(everyone, name) is None:
                names = sorted({it.name for it in everyone if it.method != BASE})
                _known(f"--{option}", name, [BASE, *names])
    return experiments


def _known(option: str, name: str, allowed: Iterable[str]) -> None:
    if name not in allowed:
        raise BadInput(f"{option}: found {name!r}; allowed: {', '.join(allowed)}")


def told(key: Key, page: Row) -> Iterator[str]:
    """Yields what the researcher is told: what is compared, and what could give a model away."""
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
        yield f"{telling} of {len(answers)} answers hold the name of a model: raters may know whose"


def main(argv: list[str] | None = None) -> int:
    """Writes rating.html and key.json; returns 0.

    With a key that is there already the page is made again, byte by byte. Raises BadInput where
    it would be another page: the ratings of the first one could no longer be read.
    """
    arguments = parse(argv)
    experiments = checked(subjects_in(arguments.root), arguments)
    place = arguments.out / "key.json"
    before = read_key(place) if place.exists() else None
    key, page = make(
        opponents(experiments, arguments.trials, arguments.against),
        arguments.sets,
        arguments.most,
        arguments.seed,
        arguments.question,
        before.secret if before else secrets.token_hex(32),
    )
    if before and before.page != key.page:
        raise BadInput(
            f"{place}: is the key of another page, whose ratings need it; move it away, or write "
            "into another folder"
        )
    html = page_html(page)
    write_json(place, key.model_dump())
    write_text(arguments.out / "rating.html", html)
    for line in told(key, page):
        print(line)
    print(f"for raters: {arguments.out / 'rating.html'}")
    print(f"for nobody else: {place}")
    return 0


if __name__ == "__main__":
    run(main)
