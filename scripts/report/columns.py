"""The columns and notes that several tables share."""

from collections.abc import Callable, Iterable
from typing import Any

from scripts.report.read import (
    BY_GROUP,
    INTERVALS,
    LABELS,
    METHODS,
    WILSON,
    Figure,
    Subject,
)
from scripts.report.render import (
    Column,
    Raw,
    Show,
    count,
    decimals,
    power,
    short,
    shown,
    shown_interval,
)

# ------------------------------------------------------------------------------ kinds of columns


def words(header: str, name: str, read: Callable[[Subject], str | None]) -> Column:
    """Returns a column of words, printed as they are."""
    return Column(
        header,
        text=lambda subject: shown(read(subject), str),
        names=(name,),
        values=lambda subject: (read(subject),),
        align="l",
    )


def number(header: str, name: str, read: Callable[[Subject], Any], show: Show) -> Column:
    """Returns a column of numbers."""
    return Column(
        header,
        text=lambda subject: shown(read(subject), show),
        names=(name,),
        values=lambda subject: (read(subject),),
    )


def setting(header: str, *keys: str, show: Show = short) -> Column:
    """Returns a column of `trial.json`."""
    return number(header, keys[-1], lambda subject: subject.setting(*keys), show)


def outcome(header: str, key: str, show: Show) -> Column:
    """Returns a column of `train.json`."""
    return number(header, key, lambda subject: subject.outcome(key), show)


def figure(key: str, show: Show, header: str = "") -> Column:
    """Returns a column of a figure's values; the CSV has n, groups and all intervals too."""
    return Column(
        header or _broken(LABELS[key]),
        text=lambda subject: shown(subject.figure(key).value, show),
        names=figure_names(key),
        values=lambda subject: figure_values(subject.figure(key)),
    )


def figure_with_interval(key: str, show: Show, method: str) -> Column:
    """Returns a column of a figure's values, each with one of its intervals."""

    def text(subject: Subject) -> str:
        found = subject.figure(key)
        if found.value is None or found.interval(method) == (None, None):
            return shown(found.value, show)
        return f"{show(found.value)} {shown_interval(found.interval(method), show)}"

    return Column(
        f"{LABELS[key]}\n[{INTERVALS[method]}]",
        text=text,
        names=figure_names(key),
        values=lambda subject: figure_values(subject.figure(key)),
    )


def interval(key: str, show: Show, method: str) -> Column:
    """Returns a column of one more interval, for people: in the CSV it stands with its figure."""
    return Column(
        f"[{INTERVALS[method]}]",
        text=lambda subject: shown_interval(subject.figure(key).interval(method), show),
    )


def sample(header: str, key: str) -> Column:
    """Returns a column of a figure's n, for people: in the CSV it stands with its figure."""
    return Column(header, text=lambda subject: shown(subject.figure(key).n, count))


def groups(header: str, key: str) -> Column:
    """Returns a column of a figure's groups, for people: in the CSV they stand with it."""
    return Column(header, text=lambda subject: shown(subject.figure(key).groups, count))


def figure_names(key: str) -> tuple[str, ...]:
    """Returns the CSV columns of a figure."""
    bounds = [
        f"{key}_{method.replace(' ', '_')}_{bound}"
        for method in INTERVALS
        for bound in ("low", "high")
    ]
    return (key, f"{key}_n", f"{key}_groups", *bounds)


def figure_values(found: Figure) -> tuple[Raw, ...]:
    """Returns the values of the CSV columns of a figure."""
    bounds = [bound for method in INTERVALS for bound in found.interval(method)]
    return (found.value, found.n, found.groups, *bounds)


def _broken(label: str) -> str:
    """Breaks a label of two words into two lines, as narrow as its numbers."""
    return label.replace(" ", "\n", 1)


# --------------------------------------------------------------------------------- shared columns


def _modules(subject: Subject) -> str | None:
    targets = subject.setting("lora", "target_modules")
    return " ".join(targets) if isinstance(targets, list) else targets


def _short_modules(subject: Subject) -> str:
    return shown(_modules(subject), lambda names: names.replace("_proj", ""))


def _batch(subject: Subject) -> int | None:
    sizes = (
        subject.setting("trainer", "per_device_train_batch_size"),
        subject.setting("trainer", "gradient_accumulation_steps"),
    )
    return None if None in sizes else sizes[0] * sizes[1]


EXPERIMENT = Column(
    "Experiment",
    text=lambda subject: subject.title,
    names=("experiment", "title"),
    values=lambda subject: (subject.experiment, subject.title),
    align="l",
)
TRIAL = words("Trial", "trial", lambda subject: subject.name)
METHOD = Column(
    "Method",
    text=lambda subject: METHODS[subject.method],
    names=("method",),
    values=lambda subject: (subject.method,),
    align="l",
)
SEED = number("Seed", "seed", lambda subject: subject.seed, str)
RANK = setting("r", "lora", "r")
ALPHA = setting("α", "lora", "lora_alpha")
DROPOUT = setting("Dropout", "lora", "lora_dropout")
MODULES = Column(
    "Modules",
    text=_short_modules,
    names=("target_modules",),
    values=lambda subject: (_modules(subject),),
    align="l",
)
LEARNING_RATE = setting("Learning\nrate", "trainer", "learning_rate", show=power)
BATCH = number("Batch", "effective_batch", _batch, count)
STEPS = outcome("Steps", "steps", count)
TRAINABLE = outcome("Trainable\nparameters", "trainable_parameters", count)
TRAIN_LOSS = outcome("Train\nloss", "train_loss", decimals(3))
SECONDS = outcome("Seconds", "seconds", decimals(1))

# ------------------------------------------------------------------------------------------ notes

METHOD_NOTES = {
    WILSON: "Wilson: 95 % score interval of a share, items taken as independent.",
    BY_GROUP: "By group: 95 % bootstrap interval; whole groups are drawn, so that items of one "
    "prompt stay together.",
}


def seed_note(subjects: Iterable[Subject]) -> str:
    """Returns which seeds the rows have."""
    seeds = sorted({subject.seed for subject in subjects if subject.seed is not None})
    match seeds:
        case []:
            return "No trial is planned."
        case [only]:
            return f"Every trial ran with seed {only}."
        case _:
            return f"One row a seed: {', '.join(map(str, seeds))}."


def figure_notes(subjects: Iterable[Subject], keys: Iterable[str]) -> list[str]:
    """Returns for each figure that has a value how it is defined and on how many items."""
    notes = []
    for key in keys:
        found = [
            (subject.experiment, subject.figure(key))
            for subject in subjects
            if subject.figure(key).value is not None
        ]
        definitions = _where([(place, it.definition.rstrip(".")) for place, it in found])
        sizes = _where([(place, _size(it)) for place, it in found])
        if found:
            notes.append(f"{LABELS[key]}: {'; '.join(filter(None, (definitions, sizes)))}.")
    return notes


def _where(texts: list[tuple[str, str]]) -> str:
    """Says each text once; where there are several, with the experiments that it holds for."""
    places: dict[str, list[str]] = {}
    for place, text in texts:
        places.setdefault(text, []).append(place)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(
        f"{text} ({', '.join(dict.fromkeys(experiments))})" for text, experiments in places.items()
    )


def _size(found: Figure) -> str:
    if found.groups in (None, found.n):
        return f"n = {shown(found.n, count)}"
    return f"n = {shown(found.n, count)} in {count(found.groups)} groups"
