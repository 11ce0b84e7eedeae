"""What no single part of a configuration can check: names that do not exist, missing splits."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scripts.common.cli import BadInput
from scripts.common.columns import column_names, data_files
from scripts.common.methods import METHODS
from scripts.common.splits import SPLITS, parse_slices
from scripts.common.templates import TEMPLATES, template_name, template_path
from scripts.config.base import PLAIN, is_odd
from scripts.config.data import Dataset, FileData, Mixture, formats_of, splits_of
from scripts.config.evaluation import Generate, Judge
from scripts.config.files import Location, dotted
from scripts.config.models import DemoModel, FolderModel, ModelSource
from scripts.config.schema import AnyPhase, Config, Experiment
from scripts.config.trials import Trial
from scripts.models.manifest import snapshot_files

Found = Iterator[tuple[Location, str]]
"""Places in the configuration, and what is wrong there."""


TAKEN = ("base", "lookup")
"""What tables call the untuned model, and the baseline that needs no model."""
LONGEST = 180
"""Bytes of names that make a folder's together; a file system takes 255, with lengths and seeds."""


def problems_of(config: Config) -> Found:
    """Yield what is wrong with a configuration whose parts are right.

    What models and datasets are made from need not be here where reports read the metrics of
    another folder than the results: nothing is made then but reports.
    """
    if config.pathvars.get("metrics") in (None, config.pathvars.get("results", "results")):
        for name, model in config.models.items():
            yield from _below(("models", name, "source"), _in_model(model.source))
        for name, dataset in config.datasets.items():
            yield from _below(("datasets", name), _in_files(dataset))
    for name, mixture in config.mixtures.items():
        yield from _below(("mixtures", name), _in_mixture(config, name, mixture))
    for name, experiment in config.experiments.items():
        yield from _below(("experiments", name), _in_experiment(config, experiment))
    yield from _names(config)
    yield from _same_templates(config)
    if not any(experiment.enabled for experiment in config.experiments.values()):
        yield ("experiments",), "each has enabled: false; at least one is needed"
    if config.claims is not None and not config.claims.is_file():
        yield ("claims",), _no_file(config.claims)


def _below(place: Location, found: Found) -> Found:
    """Yield the problems of a part with its place before theirs."""
    for path, text in found:
        yield (*place, *path), text


def _in_model(source: ModelSource) -> Found:
    if isinstance(source, DemoModel) and not source.demo.is_file():
        yield ("demo",), _no_file(source.demo)
    if isinstance(source, FolderModel):
        if not (source.folder / "config.json").is_file():
            yield ("folder",), _no_file(source.folder / "config.json")
        for name in filter(is_odd, snapshot_files(source.folder)):
            yield ("folder",), f"found {source.folder}/{name}: {PLAIN}"


def _in_mixture(config: Config, name: str, mixture: Mixture) -> Found:
    if name in config.datasets:
        yield (), f"{name} is also the name of a dataset"
    kinds = {}
    for part in mixture.of:
        yield from _below(("of",), _in_use(config, part, {part: "train"}, mixtures=False))
        if part in config.datasets:
            kinds[part] = config.datasets[part].rows
    if len(set(kinds.values())) > 1:
        text = ", ".join(f"{part} {rows}" for part, rows in kinds.items())
        yield ("of",), f"found {text}; allowed are parts of one kind"


def _in_experiment(config: Config, experiment: Experiment) -> Found:
    if experiment.model not in config.models:
        yield ("model",), _unknown(experiment.model, config.models)
    yield from _in_template(experiment.template)
    yield from _in_positions(config, experiment)
    yield from _in_names(experiment)
    for name, phase in experiment.phases.items():
        yield from _below((name,), _in_phase(config, name, phase))
        yield from _below((name, "trials"), _in_starts(config, experiment, phase))
    for name, generate in experiment.generate.items():
        yield from _below(("generate", name), _in_generate(config, experiment, generate))


def _names(config: Config) -> Found:
    """Yield the trials whose name is taken: it becomes a folder, and stands in tables."""
    seen: dict[str, Location] = {}
    for name, experiment in config.experiments.items():
        for kind, phase in experiment.phases.items():
            for index, trial in enumerate(phase.trials):
                place = ("experiments", name, kind, "trials", index)
                if trial.name in TAKEN or trial.name in config.models:
                    text = f"found {trial.name}: that is the name of a model, not of a trial"
                    if trial.name in TAKEN:
                        text = f"found {trial.name}; allowed are names but {' and '.join(TAKEN)}"
                    yield (*place, "name"), text
                if trial.name in seen:
                    other = dotted(seen[trial.name])
                    yield (*place, "name"), f"{trial.name} is also the name of {other}"
                seen.setdefault(trial.name, place)


def _same_templates(config: Config) -> Found:
    """Yield the templates that would write tokens of the same name as another one's."""
    seen: dict[tuple[object, ...], Path | None] = {}
    for name, experiment in config.experiments.items():
        for place, part in _parts(experiment) if experiment.enabled else ():
            template = part.template or experiment.template
            path, called = template_path(template), template_name(template)
            lengths = experiment.max_length, getattr(part, "max_prompt_length", None)
            other = seen.setdefault((part.dataset, experiment.model, called, *lengths), path)
            if path and other and path.resolve() != other.resolve():
                text = f"found {path}: the name of {other}, too; allowed: files of unlike names"
                yield ("experiments", name, *place, "template"), text


def _parts(experiment: Experiment) -> Iterator[tuple[Location, AnyPhase | Generate]]:
    """Yield the parts of an experiment that have a dataset and a template, with their places."""
    for name, phase in experiment.phases.items():
        yield (name,), phase
    for name, generate in experiment.generate.items():
        yield ("generate", name), generate


def _in_phase(config: Config, name: str, phase: AnyPhase) -> Found:
    uses = {"train": phase.train, "valid": phase.valid, "test": phase.test}
    yield from _in_use(config, phase.dataset, uses)
    # The split that is reported may be the one that is evaluated on: tables say so.
    for key in ("valid", "test"):
        if uses[key] == phase.train:
            yield (key,), f"found {phase.train}: {name} trains on this split"
    yield from _in_template(phase.template)
    # Unpaired rows are learned by some methods, but all preference trials can be scored on them.
    rows: str = METHODS[phase.trials[0].method].rows
    scored = [rows, "unpaired"] if rows == "preferences" else [rows]
    yield from _below(("dataset",), _of_rows(config, phase.dataset, name, scored))
    for index, trial in enumerate(phase.trials):
        if trial.dataset is not None:
            used = {"train": phase.train, "valid": phase.valid}
            place = ("trials", index, "dataset")
            yield from ((place, text) for _, text in _in_use(config, trial.dataset, used))
            yield from _below(place, _of_rows(config, trial.dataset, name, scored))
        learned = trial.dataset or phase.dataset
        told = any(_of_rows(config, learned, name, scored))
        if not (told or METHODS[trial.method].has_partners):
            yield from _below(("trials", index), _of_rows(config, learned, trial.method, [rows]))
        dataset = config.datasets.get(trial.dataset or phase.dataset)
        yield from _below(("trials", index), _in_length(dataset, phase.train, trial))
        if trial.eval_strategy != "no" and phase.valid is None:
            text = f"found {trial.eval_strategy}: {name}.valid names no split to evaluate on"
            yield ("trials", index, "eval_strategy"), text


def _of_rows(config: Config, dataset: str, who: str, rows: list[str]) -> Found:
    """Yield what is wrong if a dataset has none of the kinds of rows that somebody needs."""
    for part in config.mixtures[dataset].of if dataset in config.mixtures else [dataset]:
        found = config.datasets.get(part)
        if found is not None and found.rows not in rows:
            formats = [name for kind in rows for name in formats_of(kind)]
            wanted = f"{who} needs {' or '.join(formats)}"
            yield (), f"{part} has the format {found.format}; {wanted}"


def _in_length(dataset: Dataset | None, split: str, trial: Trial) -> Found:
    """Yield what is wrong with the steps of a trial whose rows are counted in the config."""
    rows = dataset.expect.get(split) if dataset is not None else None  # type: ignore[call-overload]
    if rows is None or trial.max_steps is not None or trial.warmup_steps < 1:
        return
    batch = trial.per_device_train_batch_size * trial.gradient_accumulation_steps
    steps = math.ceil(math.ceil(rows / batch) * trial.num_train_epochs)
    if trial.warmup_steps > steps:
        text = f"found {trial.warmup_steps}; the run has {steps} steps of {batch} rows"
        yield ("warmup_steps",), text


def _in_names(experiment: Experiment) -> Found:
    """Yield the parts whose tokens and references would have too long a name."""
    starts = [
        getattr(it, "start", None) for part in experiment.phases.values() for it in part.trials
    ]
    start = max(filter(None, starts), key=len, default="base")
    for place, part in _parts(experiment):
        template = template_name(part.template or experiment.template)
        name = f"{start}.{part.dataset}.{experiment.model}.{template}"
        if len(name.encode()) > LONGEST:
            size = len(name.encode())
            text = f"found {name}, a folder's name of {size} bytes; allowed are {LONGEST}"
            yield (*place, "dataset"), text


def _in_positions(config: Config, experiment: Experiment) -> Found:
    """Yield what is longer than the experiment's model has positions, if that is known here."""
    model = config.models.get(experiment.model)
    positions = positions_of(model.source) if model is not None else None
    if positions is None:
        return
    text = f"{experiment.model} has {positions} positions"
    if experiment.max_length > positions:
        yield ("max_length",), f"found {experiment.max_length}; {text}"
    for name, generate in experiment.generate.items():
        # A token of the prompt comes first.
        if generate.max_new_tokens >= positions:
            found = f"found {generate.max_new_tokens}; {text}, of which the prompt takes some"
            yield ("generate", name, "max_new_tokens"), found


def positions_of(source: ModelSource) -> int | None:
    """Return how many positions a model has that is here or trained here; None if unknown."""
    if isinstance(source, DemoModel):
        return source.max_position_embeddings
    if not isinstance(source, FolderModel):
        return None
    try:
        read = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
        read = read.get("text_config", read)
        found = read.get("max_position_embeddings", read.get("n_positions"))
    except (OSError, ValueError, AttributeError):
        # Its own check, before training, names what is wrong in it.
        return None
    return found if isinstance(found, int) else None


def _in_starts(config: Config, experiment: Experiment, phase: AnyPhase) -> Found:
    supervised = {
        trial.name: other
        for other in config.experiments.values()
        for trial in (other.sft.trials if other.sft else [])
    }
    for index, trial in enumerate(phase.trials):
        start = getattr(trial, "start", None)
        if start is not None and (text := _wrong_start(start, experiment, supervised)):
            yield (index, "start"), text


def _wrong_start(start: str, experiment: Experiment, supervised: dict[str, Experiment]) -> str:
    """Return why no trial of an experiment can start from another; nothing where it can."""
    if start not in supervised:
        return _unknown(start, supervised, "no SFT trial has this name")
    if experiment.enabled and not supervised[start].enabled:
        return f"found {start}: its experiment has enabled: false, so it is not trained"
    if supervised[start].model != experiment.model:
        return (
            f"{start} is trained on {supervised[start].model}, this experiment on "
            f"{experiment.model}; a trial starts from its own base model"
        )
    missing = sorted(set(experiment.seeds) - set(supervised[start].seeds))
    if missing:
        return f"{start} is not trained with seed {missing[0]}; trials start from their own seed"
    return ""


def _in_generate(config: Config, experiment: Experiment, generate: Generate) -> Found:
    yield from _in_use(config, generate.dataset, {"split": generate.split})
    yield from _in_template(generate.template)
    if generate.leave_out_overlap and experiment.sft is None:
        text = "found true: the experiment has no SFT rows that items could stand in"
        yield ("leave_out_overlap",), text
    if generate.judge is not None:
        yield from _below(("judge",), _in_judge(config, generate.judge))
    trials = [trial.name for phase in experiment.phases.values() for trial in phase.trials]
    for place, shown in enumerate(generate.show):
        if shown not in trials:
            yield ("show", place), _unknown(shown, trials, "the experiment has no such trial")


def _in_judge(config: Config, judge: Judge) -> Found:
    if judge.model not in config.models:
        yield ("model",), _unknown(judge.model, config.models)
    if judge.template is not None and not judge.template.is_file():
        yield ("template",), _no_file(judge.template)


def _in_use(
    config: Config, name: str, splits: Mapping[str, str | None], mixtures: bool = True
) -> Found:
    """Yield what is wrong where a dataset, or a mixture, and splits of it are named."""
    known = {**config.datasets, **(config.mixtures if mixtures else {})}
    if name not in known:
        yield ("dataset",) if mixtures else (name,), _unknown(name, known)
        return
    parts = config.mixtures[name].of if name in config.mixtures else [name]
    # What is wrong with a part is said at the mixture.
    found = {it for part in parts if part in config.datasets
             for it in splits_of(config.datasets[part])}  # fmt: skip
    present = [split for split in SPLITS if split in found]
    for key, split in splits.items():
        if split is not None and split not in present:
            yield (key,), _unknown(split, present, f"{name} has no such split")


def _in_files(dataset: Dataset) -> Found:
    """Yield what is wrong with local files: missing ones, and missing columns."""
    if not isinstance(dataset.source, FileData):
        return
    needed: dict[Location, str] = {
        ("columns", role): name for role, name in dataset.columns.named()
    }
    if dataset.group:
        needed["group",] = dataset.group
    given = dataset.source.file.items()
    for split, path in ((split, it) for split, named in given for it in data_files(named)):
        place = ("source", "file", split)
        if is_odd(str(path)):
            yield place, f"found {path}: {PLAIN}"
            continue
        if not path.is_file():
            yield place, _no_file(path)
            continue
        try:
            present = column_names(path, needed.values())
        except BadInput as error:
            yield place, f"found {path}: {error}"
            continue
        for role, column in needed.items():
            if column not in present:
                yield role, _unknown(column, present, f"no such column in {path}")
    for key in ("source", *SPLITS):
        expression = getattr(dataset.splits, key, None)
        # The other splits of a draw are fractions.
        if isinstance(expression, str) and any(
            split not in dataset.source.file for split, *_ in parse_slices(expression)
        ):
            text = "no such split in source.file"
            yield ("splits",), _unknown(expression, dataset.source.file, text)


def _in_template(template: str | None) -> Found:
    """Yield what is wrong with a template, whose name becomes part of paths and is its own."""
    if template is None or template == "chat":
        return
    known = ["chat", *sorted(TEMPLATES), "a .jinja file"]
    path = template_path(template)
    if template.endswith(".jinja") and template_name(template) in known:
        text = f"found {template}: {template_name(template)} is the name of another template"
        yield ("template",), text
    elif path is None or not path.is_file():
        yield ("template",), _unknown(template, known, "no such template")


def _no_file(path: Path) -> str:
    return f"found {path}: {'a folder' if path.is_dir() else 'no such file'}"


def _unknown(name: str, known: Iterable[str], text: str = "not defined") -> str:
    return f"found {json.dumps(name)}: {text}; allowed: {', '.join(known) or 'none is defined'}"
