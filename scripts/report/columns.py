"""The columns and notes that several tables share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from scripts.report.read import (
    BY_GROUP,
    INTERVALS,
    JACKKNIFED,
    LABELS,
    LOOKUP,
    METHODS,
    SET_FIGURES,
    WILSON,
    Figure,
    Subject,
    by_experiment,
)
from scripts.report.render import (
    SELECTED,
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

# ------------------------------------------------------------------------------- sets of prompts


@dataclass(frozen=True)
class Line:
    """A line of a table: a model, and one of the sets of prompts that it answered, if any."""

    subject: Subject
    set: str | None

    def figure(self, key: str) -> Figure:
        """Returns a figure of the set, or of the model where it belongs to no set."""
        if key not in SET_FIGURES:
            return self.subject.figure(key)
        return Figure() if self.set is None else self.subject.figure(key, self.set)

    def leads(self, key: str) -> bool | None:
        """Tells whether the model leads its method in a figure, apart from the runner-up."""
        return self.subject.leads(key, self.set if key in SET_FIGURES else None)


def sets_with(subjects: Iterable[Subject], keys: Iterable[str]) -> list[str]:
    """Returns the sets of prompts for which one of the subjects has one of the figures."""
    subjects, keys = list(subjects), [key for key in keys if key in SET_FIGURES]
    names = dict.fromkeys(name for subject in subjects for name in subject.sets)
    return [
        name
        for name in names
        if any(it.figure(key, name).value is not None for it in subjects for key in keys)
    ]


def lines_of(subjects: Iterable[Subject], keys: Iterable[str]) -> list[Line]:
    """Returns each subject's lines: one for each set with one of the figures, or one alone."""
    return [
        Line(subject, name)
        for members in by_experiment(subjects).values()
        for names in [sets_with(members, keys)]
        for subject in members
        for name in _own(subject, names) or [None]
    ]


def _own(subject: Subject, names: list[str]) -> list[str]:
    return [name for name in names if name in subject.sets]


def of_line(*columns: Column) -> tuple[Column, ...]:
    """Returns columns of subjects for lines, each said once for people."""
    return tuple(replace(column.over(lambda line: line.subject), once=True) for column in columns)


def once(column: Column) -> Column:
    """Returns a column of lines that people read once a subject."""
    return replace(column, once=True)


SET = Column(
    "Prompts",
    text=lambda line: shown(line.set, str),
    names=("set",),
    values=lambda line: (line.set,),
    align="l",
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
    """Returns a column of a figure's values; the CSV has deviation, n, groups, intervals too."""
    return Column(
        header or _broken(LABELS[key]),
        text=lambda row: with_deviation(row.figure(key), show),
        names=figure_names(key),
        values=lambda row: figure_values(row.figure(key)),
    )


def figure_with_interval(key: str, show: Show, method: str) -> Column:
    """Returns a column of a figure's values, each with one of its intervals."""

    def text(row: Subject | Line) -> str:
        found = row.figure(key)
        # Over several seeds a share has no Wilson interval: their items are the same.
        bounds = found.interval(method if found.sd is None else BY_GROUP)
        value = with_deviation(found, show)
        return value if None in bounds else f"{value} {shown_interval(bounds, show)}"

    return Column(
        f"{LABELS[key]}\n[{INTERVALS[method]}]",
        text=text,
        names=figure_names(key),
        values=lambda row: figure_values(row.figure(key)),
    )


def headline(key: str, show: Show, method: str) -> Column:
    """Returns a column of a figure with its interval, bold where a trial leads apart.

    The CSV says so in a column of its own; empty for what is no trial.
    """
    plain = figure_with_interval(key, show, method)
    return replace(
        plain,
        names=(*plain.names, f"{key}_best"),
        values=lambda row: (*plain.values(row), row.leads(key)),
        bold=lambda row: bool(row.leads(key)),
    )


def with_deviation(found: Figure, show: Show) -> str:
    """Returns a value, with its standard deviation over seeds where it has several."""
    value = shown(found.value, show)
    return value if found.sd is None else f"{value} ± {show(found.sd)}"


def interval(key: str, show: Show, method: str) -> Column:
    """Returns a column of one more interval, for people: in the CSV it stands with its figure."""
    return Column(
        f"[{INTERVALS[method]}]",
        text=lambda row: shown_interval(row.figure(key).interval(method), show),
        key=lambda row: row.figure(key).interval(method)[0],
    )


def sample(header: str, key: str) -> Column:
    """Returns a column of a figure's n, for people: in the CSV it stands with its figure."""
    return Column(
        header,
        text=lambda row: shown(row.figure(key).n, count),
        key=lambda row: row.figure(key).n,
    )


def groups(header: str, key: str) -> Column:
    """Returns a column of a figure's groups, for people: in the CSV they stand with it."""
    return Column(
        header,
        text=lambda row: shown(row.figure(key).groups, count),
        key=lambda row: row.figure(key).groups,
    )


def figure_names(key: str) -> tuple[str, ...]:
    """Returns the CSV columns of a figure."""
    bounds = [
        f"{key}_{method.replace(' ', '_')}_{bound}"
        for method in INTERVALS
        for bound in ("low", "high")
    ]
    return (key, f"{key}_sd", f"{key}_n", f"{key}_groups", *bounds)


def figure_values(found: Figure) -> tuple[Raw, ...]:
    """Returns the values of the CSV columns of a figure."""
    bounds = [bound for method in INTERVALS for bound in found.interval(method)]
    return (found.value, found.sd, found.n, found.groups, *bounds)


def _broken(label: str) -> str:
    """Breaks a label of two words into two lines, as narrow as its numbers."""
    return label.replace(" ", "\n", 1)


# --------------------------------------------------------------------- a line for a figure alone


def _bounds(line: Any) -> tuple[float | None, float | None]:
    return (None, None) if line.method is None else line.figure.interval(line.method)


OF_FIGURE = (
    Column(
        "Value",
        text=lambda line: with_deviation(line.figure, decimals(3)),
        names=("value", "sd", "unit"),
        values=lambda line: (line.figure.value, line.figure.sd, line.figure.unit or None),
    ),
    Column("Unit", lambda line: line.figure.unit, align="l"),
    Column(
        "Interval",
        text=lambda line: shown_interval(_bounds(line), decimals(3)),
        names=("interval_low", "interval_high"),
        values=_bounds,
    ),
    Column(
        "Interval method",
        text=lambda line: shown(line.method, lambda method: (INTERVALS | JACKKNIFED)[method]),
        names=("interval_method",),
        values=lambda line: (line.method,),
        align="l",
    ),
    Column(
        "n",
        text=lambda line: shown(line.figure.n, count),
        names=("n",),
        values=lambda line: (line.figure.n,),
    ),
    Column(
        "Groups",
        text=lambda line: shown(line.figure.groups, count),
        names=("groups",),
        values=lambda line: (line.figure.groups,),
    ),
)
"""The columns of a line that has a `figure`, and the `method` of one of its intervals or None."""

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


def marked(subject: Subject, name: str) -> str:
    """Returns a name, with a mark where the reported split has selected the adapter."""
    return f"{name} {SELECTED}" if subject.selected_on_reported else name


TRIAL = Column(
    "Trial",
    text=lambda subject: marked(subject, subject.label),
    names=("trial",),
    values=lambda subject: (subject.name,),
    align="l",
)
METHOD = Column(
    "Method",
    text=lambda subject: METHODS[subject.method],
    names=("method",),
    values=lambda subject: (subject.method,),
    align="l",
)
SEED = number("Seed", "seed", lambda subject: subject.seed, str)
SEEDS = number("Seeds", "seeds", lambda subject: len(subject.seeds) or None, count)
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
    WILSON: "Wilson: 95 % score interval of a share, items taken as independent; over several "
    "seeds the interval by group stands in its place.",
    BY_GROUP: "By group: 95 % bootstrap interval; whole groups are drawn, so that items of one "
    "prompt stay together, and of several seeds the seeds, too.",
}


LEADS = (
    "Bold: leads the trials of its experiment and method, where the paired test against the "
    "runner-up shows a difference after Holm's correction (table differences); elsewhere nobody is."
)


def seed_note(subjects: Iterable[Subject]) -> str:
    """Returns which seeds the rows have, and what is shown of several."""
    seeds = sorted({seed for subject in subjects for seed in subject.seeds})
    match seeds:
        case []:
            return "No trial is planned."
        case [only]:
            return f"Every trial ran with seed {only}."
        case _:
            return (
                f"Seeds: {', '.join(map(str, seeds))}. Of several seeds: mean ± standard deviation "
                "over seeds (n − 1), and the interval that draws seeds and groups; a figure that "
                "is no mean over items, as BLEU, has none. The table seeds has each seed."
            )


def selection_notes(subjects: Iterable[Subject]) -> list[str]:
    """Returns what the mark behind a trial means, if one has it."""
    if not any(subject.selected_on_reported for subject in subjects):
        return []
    return [
        f"{SELECTED}: the adapter is that of the best evaluation, on the split that is reported: "
        "its held-out figures are too good."
    ]


def figure_notes(subjects: Iterable[Subject], keys: Iterable[str]) -> list[str]:
    """Returns for each figure that has a value how it is defined and on how many items."""
    notes = []
    for key in keys:
        found = [(place, it) for place, it in _found(subjects, key) if it.value is not None]
        definitions = said_once([(place, it.definition.rstrip(".")) for place, it in found])
        sizes = said_once([(place, _size(it)) for place, it in found])
        if found:
            notes.append(f"{LABELS[key]}: {'; '.join(filter(None, (definitions, sizes)))}.")
    return notes


def _found(subjects: Iterable[Subject], key: str) -> list[tuple[str, Figure]]:
    """Returns a figure of each model, in each set of prompts where it belongs to one."""
    if key not in SET_FIGURES:
        return [(it.experiment, it.figure(key)) for it in subjects if it.method != "lookup"]
    return [
        (f"{it.experiment}/{name}", it.figure(key, name)) for it in subjects for name in it.sets
    ]


def set_notes(subjects: Iterable[Subject], keys: Iterable[str]) -> list[str]:
    """Returns for each set of prompts how it was answered, and how many items were left out."""
    found = [
        (name, next(it for it in members if name in it.sets))
        for members in by_experiment(subjects).values()
        for name in sets_with(members, keys)
    ]
    return answering_notes(found)


def answering_notes(found: list[tuple[str, Subject]]) -> list[str]:
    """Returns how each set of prompts was answered, by a model that did."""
    texts: dict[str, list[tuple[str, str]]] = {}
    for name, subject in found:
        texts.setdefault(name, []).append((subject.experiment, _answering(subject, name)))
    return [f"Prompts {name}: {said_once(where)}." for name, where in texts.items()]


def _answering(subject: Subject, name: str) -> str:
    settings, left_out = subject.answering(name), count(subject.left_out(name))
    compared = settings["overlap"] and settings["scored"]
    first = f", the first {count(settings['limit'])}" if settings["limit"] else ""
    before, after = settings["answer_before"], settings["answer_after"]
    parts = [
        f"{settings['split']} split of {settings['dataset']}{first}",
        _decoding(settings),
        f"at most {count(settings['max_new_tokens'])} new tokens",
        f"the answer before the first {before.strip()!r}" if before else "",
        f"the answer after the last {after.strip()!r}" if after else "",
        f"{left_out} items left out that stand in the SFT rows" if compared else "",
    ]
    return ", ".join(filter(None, parts))


def _decoding(settings: dict[str, Any]) -> str:
    if settings["own_settings"]:
        return "the model's own generation settings"
    sampled = [f"{key} {short(settings[key])}" for key in ("temperature", "top_p") if settings[key]]
    return ", ".join(["sampled", *sampled]) if settings["do_sample"] else "greedy"


def lookup_notes(subjects: Iterable[Subject]) -> list[str]:
    """Returns what the lookup is, and how many test pairs it knows, if there is one."""
    lookups = [it for it in subjects if it.method == "lookup" and it.done]
    if not lookups:
        return []
    found = [(it.experiment, it.figure("preference_accuracy").definition) for it in lookups]
    known = [(it.experiment, known_pairs(it)) for it in lookups]
    return [f"{LOOKUP[0].upper()}{LOOKUP[1:]}: {said_once(found).rstrip('.')}; {said_once(known)}."]


def known_pairs(lookup: Subject) -> str:
    """Returns how many test pairs consist of completions that train has judged."""
    found = lookup.figure("known_pairs")
    known = shown(found.value, lambda share: count(round(share * found.n)))
    return f"both completions of {known} of {shown(found.n, count)} test pairs are judged in train"


def said_once(texts: list[tuple[str, str]]) -> str:
    """Returns each text once; where there are several, with the places that it holds for."""
    places: dict[str, list[str]] = {}
    for place, text in texts:
        places.setdefault(text, []).append(place)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(
        f"{text} ({', '.join(dict.fromkeys(names))})" for text, names in places.items()
    )


def _size(found: Figure) -> str:
    if found.groups in (None, found.n):
        return f"n = {shown(found.n, count)}"
    return f"n = {shown(found.n, count)} in {count(found.groups)} groups"
