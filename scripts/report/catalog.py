"""Every table and figure of a report, each declared once.

The rules, the plan and the page ask here; no table or figure does, so that declaring one more
remakes none. To add a table: write `scripts/report/tables/{name}.py`, and declare it here; a figure
likewise, under `figures/`.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["base", "demonstrations", "preferences", "shown", "lookup"]
"""What may stand in a report: an experiment's base, the trials of the methods that learn from
demonstrations or from preferences, the trials whose answers are shown, the lookup."""
Place = Literal["base", "lookup", "trial", "run", "experiment"]
"""Where a file lies: in the folder of a base, a lookup, a trial, a trial's seed, or among
comparisons."""

ALL_MODELS: tuple[Role, ...] = ("base", "demonstrations", "preferences")
EVERYTHING: tuple[Role, ...] = (*ALL_MODELS, "lookup")

FRAMES: dict[str, dict[Place, str]] = {
    "metrics": {"base": "metrics.json", "trial": "metrics.json", "lookup": "metrics.json"},
    "seed_metrics": {"run": "metrics.json"},
    "settings": {"run": "trial.json"},
    "runs": {"run": "train.json"},
    "scores": {"base": "score.json", "run": "score.json"},
    "history": {"run": "history.jsonl"},
    "answers": {"base": "generations.parquet", "run": "generations.parquet"},
    "items": {"base": "items.parquet", "run": "items.parquet"},
    "tests": {"experiment": "comparisons/{experiment}.json"},
    "leading": {"experiment": "comparisons/{experiment}.json"},
    "claims": {},
    "references": {},
}
"""The frames of `Results`, and the files that each is read from; of claims and references the plan
knows the files."""
ALWAYS = ("runs", "metrics")
"""Read for every table and figure: which packages their trials were trained with, and which signs
they have that they went wrong."""


@dataclass(frozen=True)
class Entry:
    """A table or figure.

    Attributes
    ----------
    name
        Of its module and its files.
    caption
        What it shows, for whom meets it on a page.
    roles
        What stands in it.
    frames
        The frames that it reads.
    """

    name: str
    caption: str
    roles: tuple[Role, ...]
    frames: tuple[str, ...]

    def files(self, place: Place) -> list[str]:
        """Return the files of a place that it reads."""
        found = [FRAMES[frame].get(place) for frame in (*self.frames, *ALWAYS)]
        return list(dict.fromkeys(file for file in found if file))


_TABLES = (
    Entry(
        "sft",
        "Supervised trials below their base model: settings, training loss, and what the model "
        "does with rows that it has not seen. Held-out loss is per token of the completion, in "
        "nats; BLEU and exact match compare greedy answers with the known ones.",
        ("base", "demonstrations"),
        ("metrics", "settings", "leading"),
    ),
    Entry(
        "dpo",
        "Preference trials: settings, and the held-out pairs. A pair counts as right when the "
        "trial raises the log-prob of its chosen completion, against the reference, by more than "
        "that of its rejected one; the lookup predicts the same pairs from train's wins, with no "
        "model.",
        ("preferences", "lookup"),
        ("metrics", "settings", "leading"),
    ),
    Entry(
        "objectives",
        "Preference trials by what means the same for every objective: how likely chosen "
        "completions are, and which completion of a pair is the likelier one, against the start "
        "and by itself.",
        ("base", "preferences"),
        ("metrics", "settings", "leading"),
    ),
    Entry(
        "summary",
        "Base model, supervised and preference trials below one another, on the same held-out "
        "rows, pairs and prompts.",
        EVERYTHING,
        ("metrics", "leading"),
    ),
    Entry(
        "metrics",
        "Everything that was measured of each model: a line for each metric, its interval and "
        "what it rests on. Filter it by a metric, a trial or a set of prompts.",
        EVERYTHING,
        ("metrics",),
    ),
    Entry(
        "seeds",
        "Every trial once a seed, with the metrics of that seed alone.",
        ("demonstrations", "preferences"),
        ("seed_metrics",),
    ),
    Entry(
        "differences",
        "Pairs of models on the same items: how much a metric differs, its interval, and whether "
        "a paired test shows a difference.",
        ALL_MODELS,
        ("tests",),
    ),
    Entry(
        "comparison",
        "Each published figure beside ours, under the protocol that it was published with and "
        "under the corrected one. A difference is ours minus the published figure.",
        EVERYTHING,
        ("metrics", "tests", "leading", "claims"),
    ),
    Entry(
        "examples",
        "What the base and the trials that the configuration names answered to the same prompts, "
        "word for word.",
        ("base", "shown"),
        ("metrics", "answers"),
    ),
    Entry(
        "cost",
        "What each trial, base and reference took, and of which device.",
        ALL_MODELS,
        ("scores", "references"),
    ),
)

_FIGURES = (
    Entry(
        "curves",
        "Training loss of each trial by step, and the loss on held-out rows where a trial takes "
        "it while it trains.",
        ("demonstrations", "preferences"),
        ("settings", "history"),
    ),
    Entry(
        "accuracy",
        "Preference accuracy of each preference trial on held-out pairs, with both 95 % "
        "intervals: thick by group, thin Wilson's. The dotted line is chance; the lookup knows no "
        "model.",
        ("preferences", "lookup"),
        ("metrics",),
    ),
    Entry(
        "before_after",
        "The base model and every trial on the same held-out rows, pairs and prompts: a row for "
        "each model, with 95 % intervals, thick by group, thin Wilson's.",
        ALL_MODELS,
        ("metrics",),
    ),
    Entry(
        "forest",
        "What tuning changed against the base and against the start: a row for each trial, a "
        "panel for each main metric, with intervals.",
        ALL_MODELS,
        ("metrics", "tests"),
    ),
    Entry(
        "power",
        "How many groups of items would tell the two leading trials apart, if the observed "
        "difference were the true one.",
        ALL_MODELS,
        ("tests", "leading"),
    ),
    Entry(
        "sensitivity",
        "The headline metric against each hyperparameter in which trials differ.",
        ("demonstrations", "preferences"),
        ("metrics", "settings"),
    ),
    Entry(
        "reliability",
        "Calibration: how often the chosen completion wins among pairs whose reward margin is "
        "that sure of it.",
        ("preferences",),
        ("metrics", "seed_metrics", "items"),
    ),
    Entry(
        "length",
        "Whether a completion gets a reward for being long: preference accuracy and margins by "
        "the difference in length.",
        ("preferences",),
        ("metrics", "seed_metrics", "items"),
    ),
    Entry(
        "quality",
        "Seconds of training against the headline metric, by trial.",
        ("demonstrations", "preferences"),
        ("metrics",),
    ),
)

TABLES = {entry.name: entry for entry in _TABLES}
FIGURES = {entry.name: entry for entry in _FIGURES}
