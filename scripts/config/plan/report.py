"""What comparisons, tables, figures and the page are made of."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.common.methods import METHODS
from scripts.common.metrics import comparison_rules
from scripts.common.states import DONE, FAILED, NOT_RUN, NOT_SCORED, SCORED, State, states_of
from scripts.config.plan.data import Files, Part
from scripts.config.plan.evaluation import Base
from scripts.config.plan.whole import Plan
from scripts.evaluate import signs as of_evaluation
from scripts.report.catalog import EVERYTHING, FIGURES, TABLES, Entry, Place
from scripts.train import signs as of_training

PAGE = Entry("page", "", EVERYTHING, ("metrics", "seed_metrics", "settings", "answers", "items"))
"""What the page reads besides the tables and figures."""


@dataclass(frozen=True)
class Reports:
    """What reports show of a plan.

    Attributes
    ----------
    unfinished
        By folder the state of each model that reports do not wait for.
    metrics
        The folder that reports read, where they take what is there; None where they wait for all.
    only
        The experiments that they show; None for all.
    """

    plan: Plan
    unfinished: Mapping[str, State] = field(default_factory=dict)
    metrics: Path | None = None
    only: Collection[str] | None = None
    _runs: dict[tuple[str, str], list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for run in self.plan.runs.values():
            name = run.folder.removeprefix("trials/")
            self._runs.setdefault((run.experiment, run.method), []).append(name)

    @cached_property
    def bases(self) -> dict[str, Base]:
        """The bases of the experiments that are shown, by experiment."""
        every = self.plan.bases.items()
        return {name: base for name, base in every if self.only is None or name in self.only}

    # -------------------------------------------------------------------------------- comparisons

    def compared(self, experiment: str) -> Part:
        """Return the models of an experiment that are compared: those with all seeds done."""
        trials = {
            method: [run for run in runs if self._is_finished(run.split("/")[0])]
            for method, runs in self._trials(experiment, METHODS).items()
        }
        return {
            "experiment": experiment,
            "base": self.plan.bases[experiment].name,
            "trials": {method: runs for method, runs in trials.items() if runs},
            "phases": {name: METHODS[name].phase for name, runs in trials.items() if runs},
            "metrics": comparison_rules(),
        }

    def compared_files(self, experiment: str) -> list[str]:
        """Return what comparing them reads: items, and how trials were trained."""
        runs = [run for runs in self.compared(experiment)["trials"].values() for run in runs]
        return [f"<results>/bases/{experiment}/items.parquet"] + [
            f"<results>/trials/{run}/{file}"
            for run in runs
            for file in ("items.parquet", "trial.json")
        ]

    def _is_finished(self, trial: str) -> bool:
        return not any(run.folder in self.unfinished for run in self.plan.trials[trial].runs)

    # ----------------------------------------------------------------------------------- measuring

    def measure_inputs(self, subject: str) -> Files:
        """Return what measuring a model reads; it is held only to those models that are awaited."""
        files = self.plan.subjects[subject].measure_inputs()
        missing = {f"<results>/{folder}/metrics.json" for folder in self.unfinished}
        return {name: file for name, file in files.items() if str(file) not in missing}

    # ------------------------------------------------------------------------- tables and figures

    def tables(self) -> list[str]:
        """Return the tables that are made; one without models of its kind is not."""
        return [name for name, entry in TABLES.items() if self._is_made(entry)]

    def figures(self) -> list[str]:
        """Return the figures that are made; one without models of its kind is not."""
        return [name for name, entry in FIGURES.items() if self._is_made(entry)]

    def _is_made(self, entry: Entry) -> bool:
        claimed = self.plan.claims is not None or "claims" not in entry.frames
        return claimed and bool(self.experiments(entry))

    def experiments(self, entry: Entry) -> list[Part]:
        """Return by experiment what stands in a report, as it is given to it.

        Short, because a thousand trials must fit into one argument of a command line.
        """
        parts = [
            {
                "experiment": name,
                "title": base.title,
                "base": base.name if "base" in entry.roles else None,
                "trials": self._trials(name, methods_of(entry)),
                "lookup": base.lookup.name if base.lookup and "lookup" in entry.roles else None,
                "shown": base.shown if "shown" in entry.roles else {},
            }
            for name, base in self.bases.items()
        ]
        return [part for part in parts if part["trials"] or part["shown"]]

    def _trials(self, experiment: str, methods: Iterable[str]) -> dict[str, list[str]]:
        """Return by method an experiment's runs as `{trial}/seed-{seed}`."""
        found = {method: self._runs.get((experiment, method), []) for method in methods}
        return {method: runs for method, runs in found.items() if runs}

    def files(self, entry: Entry) -> list[str]:
        """Return the files that a report reads of models and comparisons."""
        parts = self.experiments(entry)
        runs = [
            run
            for part in parts
            for those in (*part["trials"].values(), *part["shown"].values())
            for run in those
        ]
        trials = dict.fromkeys(run.split("/")[0] for run in runs)
        folders: dict[Place, list[str]] = {
            "base": [f"bases/{part['experiment']}" for part in parts if part["base"] is not None],
            "lookup": [f"baselines/{part['lookup']}" for part in parts if part["lookup"]],
            "trial": [f"trials/{trial}" for trial in trials if self._is_finished(trial)],
            "run": [f"trials/{run}" for run in dict.fromkeys(runs)],
        }
        compared = [
            file.format(experiment=part["experiment"])
            for part in parts
            if f"bases/{part['experiment']}" not in self.unfinished
            for file in entry.files("experiment")
        ]
        return [f"<metrics>/{file}" for file in compared] + [
            f"<metrics>/{folder}/{file}"
            for place, those in folders.items()
            for files in [entry.files(place)]
            for folder in those
            if folder not in self.unfinished
            for file in files
        ]

    def data_files(self, entry: Entry) -> list[str]:
        """Return the files that say what was left out of the data of a report's models.

        Prompts that are answered count where the base, which answers them too, is in the report.
        """
        methods = methods_of(entry)
        names = {part["experiment"] for part in self.experiments(entry)}
        runs = [run for run in self.plan.runs.values() if run.experiment in names]
        used = {run.training.tokens for run in runs if run.method in methods}
        for base in self._bases(names) if "base" in entry.roles else []:
            used |= {asked.tokens for asked in base.evaluation.prompts.values()}
        datasets = sorted({self.plan.tokens[tokens].dataset for tokens in used})
        files = [f"<metrics>/data/{dataset}/dropped.parquet" for dataset in datasets]
        files += [f"<metrics>/tokens/{tokens}/report.json" for tokens in sorted(used)]
        return list(filter(self._is_awaited, files))

    def reference_costs(self, entry: Entry) -> dict[str, str]:
        """Return by file what a report reads of references' costs, and the experiment of each.

        A reference counts for the experiment that uses it first, and for no other.
        """
        used: dict[str, str] = {}
        subjects = self.plan.subjects.values() if "references" in entry.frames else []
        for subject in (it for it in subjects if it.experiment in self.bases):
            for reference, split in subject.references():
                # A mixture's is taken from those of its parts.
                parts = [name for _, name in self.plan.references[reference].parts]
                for name in parts or [reference]:
                    file = f"<metrics>/references/{name}/{split}.json"
                    used.setdefault(file, subject.experiment)
        return {file: name for file, name in used.items() if self._is_awaited(file)}

    def failures(self) -> list[str]:
        """Return what failed runs left. One whose start failed leaves nothing."""
        failed = [it for it, state in self.unfinished.items() if state.word == FAILED]
        own = [folder for folder in failed if not self.unfinished[folder].start]
        return [f"<results>/{folder}/work/failed.json" for folder in own]

    def undone(self) -> Part:
        """Return by folder what is not done: the state, and the start where that one failed."""
        states = self.unfinished.items()
        return {it: [state.word, *([state.start] if state.start else [])] for it, state in states}

    def claims(self, entry: Entry) -> list[str]:
        """Return the file of published figures that a report compares with ours, if any."""
        return [self.plan.claims] if self.plan.claims and "claims" in entry.frames else []

    def _is_awaited(self, file: str) -> bool:
        """Return False where reports take what is there, and a file is not."""
        if self.metrics is None:
            return True
        return (self.metrics / file.removeprefix("<metrics>/")).is_file()

    def _bases(self, experiments: Collection[str]) -> list[Base]:
        return [base for name, base in self.bases.items() if name in experiments]

    # ---------------------------------------------------------------------------------- everything

    @cached_property
    def everything(self) -> list[str]:
        """The files that tables, figures and page read, each once, below the results."""
        entries = [*TABLES.values(), *FIGURES.values(), PAGE]
        files = [file for entry in entries for file in self.files(entry)] + self.prompts_rows()
        files += [file for entry in TABLES.values() for file in self.data_files(entry)]
        files += [file for entry in TABLES.values() for file in self.reference_costs(entry)]
        return [file.removeprefix("<metrics>/") for file in dict.fromkeys(files)]

    def prompts_rows(self) -> list[str]:
        """Return the canonical splits behind all sets of prompts, each once."""
        bases = self.bases.values()
        prompts = [asked for base in bases for asked in base.evaluation.prompts.values()]
        files = (asked.file.replace("<results>", "<metrics>") for asked in prompts)
        return list(dict.fromkeys(files))


def sign_reasons() -> dict[str, str]:
    """Return by sign what it means, as the page says it; that of training says more."""
    signs = (*of_evaluation.SIGNS.values(), *of_training.SIGNS.values())
    return {sign.name: sign.why for sign in signs}


def methods_of(entry: Entry) -> list[str]:
    """Return the methods whose trials stand in a report."""
    return [name for name, method in METHODS.items() if method.rows in entry.roles]


def reported_files(plan: Plan) -> dict[str, list[str]]:
    """Return by experiment the files that reports read of a finished run, below its results."""
    return {name: Reports(plan, only=[name]).everything for name in plan.bases}


def unfinished(results: Path, plan: Plan, now: float) -> dict[str, State]:
    """Return by folder the state of each run, base and lookup that cannot be measured yet."""
    adapters = {it: results / it / "adapter" / "adapter_model.safetensors" for it in plan.runs}
    trained = {folder: run.training.as_json() for folder, run in plan.runs.items()}
    states = {folder: State(DONE) for folder in plan.subjects} | states_of(results, trained, now)
    states |= {
        folder: State(NOT_SCORED)
        for folder, state in states.items()
        if state.word == DONE and not is_scored(results / folder, adapters.get(folder))
    }
    for lookup in plan.lookups.values():
        data = results / "data" / lookup.dataset
        rows = [data / f"{split}.parquet" for split in (lookup.train, lookup.test)]
        states[lookup.folder] = State(DONE if all(map(Path.is_file, rows)) else NOT_RUN)
    return {folder: state for folder, state in states.items() if state.word != DONE}


def is_scored(folder: Path, adapter: Path | None) -> bool:
    """Return True if scoring left all its files, after the adapter that it scored."""
    if not all((folder / name).is_file() for name in SCORED):
        return False
    made = [(folder / name).stat().st_mtime for name in SCORED]
    return adapter is None or min(made) >= adapter.stat().st_mtime
