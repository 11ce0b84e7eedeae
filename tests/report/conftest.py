"""A small results folder, written by hand: two experiments with base models, trials, a lookup.

The numbers are made up, and each occurs only once, so that a test can identify it.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.common.files import read_json, write_json, write_rows
from scripts.common.metrics import METRICS
from scripts.common.rows import GENERATIONS, ITEMS
from scripts.evaluate.aggregate import aggregate

Row = dict[str, Any]
FORMS = ("csv", "md", "tex")


def measured(value: float, n: int = 57, **more: Any) -> Row:
    """Return a metric as in metrics.json."""
    wanted = {"groups": None, "intervals": {}} | more
    return {"value": value, "n": n, **wanted}


@dataclass
class Results:
    """A results folder that grows by one subject at a time, and its plan."""

    root: Path
    plan: list[Row] = field(default_factory=list)

    def write(self, row: Row, **files: Any) -> None:
        """Add a subject to the plan, and write its files, named without the suffix."""
        self._enter(row)
        folder = self.root / row["folder"]
        folder.mkdir(parents=True)
        for name, content in files.items():
            if name == "generations":
                write_rows(folder / "generations.parquet", content, GENERATIONS)
            elif name == "items":
                write_rows(folder / "items.parquet", content, ITEMS)
            elif name == "history":
                text = "".join(f"{json.dumps(line)}\n" for line in content)
                (folder / "history.jsonl").write_text(text, encoding="utf-8")
            else:
                (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    def _enter(self, row: Row) -> None:
        head = {"experiment": row["experiment"], "title": row["title"]}
        part = next((part for part in self.plan if head.items() <= part.items()), None)
        if part is None:
            part = head | {"base": None, "trials": {}, "lookup": None, "shown": {}}
            self.plan.append(part)
            self.compare(row["experiment"])
        if row["method"] == "base":
            part["base"] = row["name"]
        elif row["method"] == "lookup":
            part["lookup"] = row["folder"].removeprefix("baselines/")
        else:
            runs = part["trials"].setdefault(row["method"], [])
            runs.append(row["folder"].removeprefix("trials/"))

    def compare(self, experiment: str, *tests: Row, leading: tuple[Row, ...] = ()) -> None:
        """Write the comparisons of an experiment, made by `paired` and `leader`."""
        made = {
            "experiment": experiment,
            "level": 0.05,
            "pairs": {"sft": "all", "dpo": None},
            "never_compared": [{"metrics": ["margin"], "reason": "another beta"}],
            "left_out": [],
            "leading": list(leading),
            "tests": list(tests),
        }
        write_json(self.root / "comparisons" / f"{experiment}.json", made)

    def show(self, experiment: str, set_name: str, *runs: str) -> None:
        """Enter in the plan whose answers to a set of prompts are shown."""
        part = next(part for part in self.plan if part["experiment"] == experiment)
        part["shown"][set_name] = list(runs)

    def lookup(self, experiment: str, title: str, figures: Row) -> None:
        """Add the lookup of an experiment's pairs."""
        row = {"name": "lookup", "method": "lookup", "seed": None}
        row |= {"experiment": experiment, "title": title}
        row |= {"folder": f"baselines/{experiment}.train.test"}
        self.write(row, metrics={"name": "lookup", "method": "lookup", "metrics": figures})

    def base(
        self,
        experiment: str,
        title: str,
        figures: Row,
        sets: Row | None = None,
        answers: list[Row] | None = None,
    ) -> None:
        """Add the base model of an experiment; metrics and sets as for a trial."""
        row = {
            "folder": f"bases/{experiment}",
            "name": "tiny_llama",
            "experiment": experiment,
            "title": title,
            "method": "base",
            "seed": None,
        }
        made = {"metrics": metrics(figures, sets), "score": SCORE}
        self.write(row, **made, generations=answers or [])

    def trial(
        self,
        name: str,
        method: str,
        figures: Row,
        experiment: str = "tutor",
        title: str = "Word problems & dialogues",
        seed: int = 0,
        setting: Row | None = None,
        outcome: Row | None = None,
        score: Row | None = None,
        history: list[Row] | None = None,
        sets: Row | None = None,
        answers: list[Row] | None = None,
        selected_on: str | None = None,
        items: dict[str, list[float]] | None = None,
        signs: list[Row] | None = None,
    ) -> None:
        """Add a trial; `setting`, `outcome` and `score` change trial.json, train.json and
        score.json.

        Its metrics of answers belong to the set `problems`; `sets` has those of other sets.
        `items` has the scores behind metrics of pairs; `signs` those of evaluation.
        """
        row = {
            "folder": f"trials/{name}/seed-{seed}",
            "name": name,
            "experiment": experiment,
            "title": title,
            "method": method,
            "seed": seed,
        }
        self.write(
            row,
            metrics={"seed": seed} | metrics(figures, sets) | {"signs": signs or []},
            generations=answers or [],
            items=[
                {"set": None, "metric": key, "id": f"p{number}", "group": f"g{number}",
                 "score": score, "weight": 1.0}
                for key, scores in (items or {}).items()
                for number, score in enumerate(scores)
            ],
            trial=TRIALS[method] | (setting or {}),
            train=TRAINED | (outcome or {}),
            score=SCORE | (score or {}),
            history=HISTORY if history is None else history,
        )  # fmt: skip
        folder = self.root / "trials" / name
        seeds = sorted(folder.glob("seed-*/metrics.json"))
        subject = {"name": name, "held_out": {"completions": "test", "pairs": "test"}}
        subject |= {"selected_on": selected_on}
        write_json(folder / "metrics.json", aggregate(subject, list(map(read_json, seeds)), []))

    def arguments(self, *outputs: Path) -> list[str]:
        """Return a command line that writes the outputs."""
        forms = [part for path in outputs for part in (f"--{path.suffix[1:]}", str(path))]
        return ["--root", str(self.root), "--plan", json.dumps(self.plan), *forms]


def paired(a: str, b: str, metric: str, **more: Any) -> Row:
    """Return a test as in the comparisons."""
    wanted = {
        "kind": "base", "method": "dpo", "set": None, "metric": metric, "a": a, "b": b,
        "value_a": 0.75, "value_b": 0.5, "difference": 0.25, "interval": [0.125, 0.375],
        "p": 0.0123, "holm": 0.0246, "n": 114, "groups": 38, "seeds": [1, 1],
        "test": "sign flips, drawn", "group_deviation": 0.5,
    }  # fmt: skip
    made = wanted | more
    return {"shown": made["holm"] < 0.05} | made


def leader(first: str, second: str, metric: str, apart: bool, **more: Any) -> Row:
    """Return which trial leads, as in the comparisons."""
    wanted = {"method": "dpo", "set": None, "metric": metric, "leading": first}
    return wanted | {"runner_up": second, "holm": 0.01 if apart else 0.5, "apart": apart} | more


SETTINGS = {
    "dataset": "word-problems",
    "split": "test",
    "template": None,
    "limit": None,
    "max_new_tokens": 100,
    "do_sample": False,
    "temperature": None,
    "top_p": None,
    "own_settings": False,
    "seed": 0,
    "batch_size": 16,
    "answer_after": None,
    "answer_before": None,
    "overlap": None,
    "scored": True,
}


def metrics(figures: Row, sets: Row | None = None) -> Row:
    """Return metrics.json: metrics of answers belong to the set `problems`."""
    own = {key: figure for key, figure in figures.items() if METRICS[key].home != "answers"}
    answered = {key: figure for key, figure in figures.items() if METRICS[key].home == "answers"}
    named = ({"problems": answered} if answered else {}) | (sets or {})
    return {
        "read": {},
        "metrics": own,
        "sets": {
            name: {"settings": SETTINGS, "left_out": 0, "metrics": made}
            for name, made in named.items()
        },
    }


TRAINER = {
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "num_train_epochs": 1,
    "max_steps": 150,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
}
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]}
OBJECTIVE = {
    "beta": 0.1,
    "loss_type": ["sigmoid"],
    "loss_weights": None,
    "label_smoothing": 0.0,
    "use_weighting": False,
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "discopop_tau": 0.05,
}
TRIALS = {
    "sft": {"lora": LORA, "trainer": TRAINER},
    "dpo": {
        "lora": LORA,
        "trainer": TRAINER | OBJECTIVE,
        "start": "trials/sft_1/seed-0",
        "start_as": "merged",
    },
}
TRAINED = {
    "train_loss": 0.71414,
    "steps": 150,
    "tokens": 60_000,
    "seconds": 12.34,
    "step_seconds": 0.08,
    "optimizer": "torch.optim.adamw.AdamW",
    "device": "cuda:0",
    "peak_memory_mb": 9876.5,
    "trainable_parameters": 1914880,
    "total_parameters": 38297600,
    "energy_joules": None,
    "versions": {"torch": "2.13.0+cu128", "trl": "1.14.2"},
    "layout": {"asked": "auto", "ran": "shared", "processed_tokens": 45_678},
    "step_zero": {"margin": 0.0, "loss": 0.693147, "gate": "passed"},
}
SCORE = {"device": "cuda:0", "seconds": 3.5, "peak_memory_mb": 1234.5, "energy_joules": None}
PAIRS = {
    "margin": [2.0, 0.5, -0.25, 0.0, 1.5, -1.0],
    "length_difference": [12.0, 3.0, -4.0, 0.0, 5.0, 7.0],
}
"""Score of items.parquet."""
HISTORY = [
    {"step": 10, "epoch": 0.1, "loss": 0.69, "learning_rate": 1e-4, "grad_norm": 1.0},
    {"step": 20, "epoch": 0.2, "loss": 0.60, "learning_rate": 1e-4, "grad_norm": 1.0},
    {"step": 20, "epoch": 0.2, "eval_loss": 0.65},
]


def generated(loss: float, bleu: float, exact: float) -> Row:
    """Return the metrics of a model that was scored on completions and generated text."""
    return {
        "held_out_loss": measured(
            loss, 120, groups=12,
            intervals={"group bootstrap": [loss - 0.1, loss + 0.1]},
        ),
        "bleu": measured(bleu),
        "exact_match": measured(
            exact, intervals={"wilson": [exact - 0.12, exact + 0.12]}
        ),
        "stop_rate": measured(0.9),
        "generated_tokens": measured(41.25),
    }  # fmt: skip


def preferred(accuracy: float = 0.8125, chosen: float = -21.5) -> Row:
    """Return the metrics of a model that was scored on pairs."""
    return {
        "preference_loss": measured(
            0.5612, 114, groups=38, intervals={"group bootstrap": [0.5, 0.625]},
        ),
        "preference_accuracy": measured(
            accuracy, 114, groups=38,
            intervals={
                "wilson": [accuracy - 0.0625, accuracy + 0.0625],
                "group bootstrap": [accuracy - 0.125, accuracy + 0.125],
            },
        ),
        "policy_accuracy": measured(0.58, 114, groups=38),
        "reference_accuracy": measured(0.52, 114, groups=38),
        "margin": measured(1.85, 114, groups=38, intervals={"group bootstrap": [1.5, 2.25]}),
        "chosen_logp": measured(chosen, 114),
        "rejected_logp": measured(-40.25, 114),
        "reference_chosen_logp": measured(-20.0, 114),
        "reference_rejected_logp": measured(-30.0, 114),
    }  # fmt: skip


def looked_up(known: float = 1.0) -> Row:
    """Return the metrics of a lookup."""
    return {
        "preference_accuracy": measured(
            0.71875, 114, groups=38,
            intervals={"wilson": [0.625, 0.75], "group bootstrap": [0.5625, 0.875]},
        ),
        "known_pairs": measured(known, 114, groups=38),
    }  # fmt: skip


def answered(
    set_name: str, *texts: str, prompts: tuple[str, ...] = ("q0", "q1", "q2")
) -> list[Row]:
    """Return rows of generations.parquet, one per text."""
    return [
        {"set": set_name, "id": prompt, "prompt": f"Ask {prompt}", "text": text,
         "tokens": len(text.split()), "stop": "eos"}
        for prompt, text in zip(prompts, texts, strict=False)
    ]  # fmt: skip


@pytest.fixture
def empty_results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def figures() -> dict[str, Callable[..., Row]]:
    """Return the functions that make hand-written metrics."""
    return {
        "generated": generated,
        "preferred": preferred,
        "measured": measured,
        "looked_up": looked_up,
        "answered": answered,
    }


@pytest.fixture
def results(empty_results: Results) -> Results:
    """Return two experiments: one with everything, one with only pairs and a lookup."""
    made, title = empty_results, "Word problems & dialogues"
    made.base("tutor", title, generated(2.5, 0.0721, 0.2), answers=answered("problems", "5", "7"))
    first = answered("problems", "It is 5.\n#### 5", "7 | `x`")
    made.trial("sft_1", "sft", generated(1.25, 0.1176, 0.5), answers=first)
    by_epochs = TRAINER | {"max_steps": -1, "num_train_epochs": 3, "learning_rate": 4e-3}
    made.trial("sft_2", "sft", generated(1.5, 0.1075, 0.4), setting={
        "lora": LORA | {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        "trainer": by_epochs,
    })  # fmt: skip
    made.trial("dpo_1", "dpo", generated(1.375, 0.1, 0.45) | preferred(), items=PAIRS)
    pairs = {"experiment": "titles", "title": "Titles, 100 % of #1 {ideas}"}
    made.base("titles", pairs["title"], {"policy_accuracy": measured(0.5, 20)})
    made.trial("titles-1", "dpo", preferred(0.75, -19.0), **pairs, setting={"start": None},
               items={"margin": PAIRS["margin"]})  # fmt: skip
    made.trial("titles-2", "dpo", {}, **pairs)
    made.lookup("titles", pairs["title"], looked_up())
    made.show("tutor", "problems", "sft_1/seed-0")
    loss, of_answers = {"metric": "held_out_loss", "method": "sft"}, {"set": "problems"}
    made.compare(
        "tutor",
        paired("sft_1", "tiny_llama", **loss, value_a=1.25, value_b=2.5, difference=-1.25,
               interval=[-1.5, -1.0], p=1 / 10_001, holm=3 / 10_001),
        paired("sft_1", "sft_2", **loss, kind="trials", value_a=1.25, value_b=1.5,
               difference=-0.25, interval=[-0.5, 0.125], p=0.125, holm=0.125),
        paired("dpo_1", "sft_1", "exact_match", **of_answers, kind="start", value_a=0.45,
               value_b=0.5, difference=-0.05, interval=None, p=0.5, holm=1.0, n=57, groups=57,
               test="McNemar, exact"),
        leading=(leader("sft_1", "sft_2", "held_out_loss", False, method="sft"),),
    )  # fmt: skip
    made.compare("titles", paired("titles-1", "tiny_llama", "policy_accuracy"))
    return made


def written(module: ModuleType, made: Results, folder: Path, *more: str) -> dict[str, str]:
    """Run a table's command line and return its text in each format."""
    paths = [folder / f"table.{form}" for form in FORMS]
    assert module.main([*made.arguments(*paths), *more]) == 0
    return {path.suffix[1:]: path.read_text(encoding="utf-8") for path in paths}


def records(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    return list(csv.DictReader(io.StringIO(text)))


def squeezed(text: str) -> str:
    """Return a Markdown table with runs of spaces replaced by one."""
    return re.sub(" +", " ", text)
