"""A small results folder, written by hand: two experiments, a base model and trials of both kinds.

The numbers are made up, and each stands in one place only, so that a test can name it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]

EXACT = "share of greedy answers whose last number is the expected one"


def measured(value: float, n: int = 57, unit: str = "", **more: Any) -> Row:
    """Returns a figure as metrics.json holds it."""
    wanted = {"groups": None, "intervals": {}, "definition": ""} | more
    return {"value": value, "n": n, "unit": unit, **wanted}


@dataclass
class Results:
    """A results folder that grows by one subject at a time, and its plan."""

    root: Path
    plan: list[Row] = field(default_factory=list)

    def write(self, row: Row, **files: Any) -> None:
        """Enters a subject into the plan and writes its files, by names without the ending."""
        self._enter(row)
        folder = self.root / row["folder"]
        folder.mkdir(parents=True)
        for name, content in files.items():
            if name == "history":
                text = "".join(f"{json.dumps(line)}\n" for line in content)
                (folder / "history.jsonl").write_text(text, encoding="utf-8")
            else:
                (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    def _enter(self, row: Row) -> None:
        head = {"experiment": row["experiment"], "title": row["title"]}
        part = next((part for part in self.plan if head.items() <= part.items()), None)
        if part is None:
            part = head | {"base": None, "sft": [], "dpo": []}
            self.plan.append(part)
        if row["method"] == "base":
            part["base"] = row["name"]
        else:
            part[row["method"]].append(row["folder"].removeprefix("trials/"))

    def base(self, experiment: str, title: str, figures: Row) -> None:
        """Adds the base model of an experiment."""
        row = {
            "folder": f"bases/{experiment}",
            "name": "tiny_llama",
            "experiment": experiment,
            "title": title,
            "method": "base",
            "seed": None,
        }
        self.write(row, metrics={"figures": figures})

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
        history: list[Row] | None = None,
    ) -> None:
        """Adds a trial; `setting` and `outcome` change what trial.json and train.json say."""
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
            metrics={"figures": figures},
            trial=TRIALS[method] | (setting or {}),
            train=TRAINED | (outcome or {}),
            history=HISTORY if history is None else history,
        )

    def arguments(self, *outputs: Path) -> list[str]:
        """Returns a command line that writes the outputs."""
        forms = [part for path in outputs for part in (f"--{path.suffix[1:]}", str(path))]
        return ["--root", str(self.root), "--plan", json.dumps(self.plan), *forms]


TRAINER = {
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "num_train_epochs": 1,
    "max_steps": 150,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
}
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]}
TRIALS = {
    "sft": {"lora": LORA, "trainer": TRAINER},
    "dpo": {
        "lora": LORA,
        "trainer": TRAINER | {"beta": 0.1, "loss_type": "sigmoid", "label_smoothing": 0.0},
        "start": "trials/sft_1/seed-0",
    },
}
TRAINED = {"train_loss": 0.71414, "steps": 150, "seconds": 12.34, "trainable_parameters": 1914880}
HISTORY = [
    {"step": 10, "epoch": 0.1, "loss": 0.69, "learning_rate": 1e-4, "grad_norm": 1.0},
    {"step": 20, "epoch": 0.2, "loss": 0.60, "learning_rate": 1e-4, "grad_norm": 1.0},
    {"step": 20, "epoch": 0.2, "eval_loss": 0.65},
]


def generated(loss: float, bleu: float, exact: float) -> Row:
    """Returns the figures of a model that was scored on completions and generated text."""
    return {
        "held_out_loss": measured(
            loss, 120, "nats per token", groups=12,
            intervals={"group bootstrap": [loss - 0.1, loss + 0.1]},
            definition="mean negative log-likelihood of a completion token",
        ),
        "bleu": measured(bleu, definition="corpus BLEU-4, 13a, no smoothing"),
        "exact_match": measured(
            exact, definition=EXACT, intervals={"wilson": [exact - 0.12, exact + 0.12]}
        ),
        "stop_rate": measured(0.9, definition="share of answers that ended by themselves"),
        "generated_tokens": measured(41.25, definition="mean length"),
    }  # fmt: skip


def preferred(accuracy: float = 0.8125, chosen: float = -21.5) -> Row:
    """Returns the figures of a model that was scored on pairs."""
    return {
        "preference_loss": measured(
            0.5612, 114, "nats", groups=38, intervals={"group bootstrap": [0.5, 0.625]},
            definition="mean -log sigmoid(margin)",
        ),
        "preference_accuracy": measured(
            accuracy, 114, groups=38, definition="share of pairs with a positive margin",
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


@pytest.fixture
def empty_results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def figures() -> dict[str, Callable[..., Row]]:
    """The makers of hand-written figures."""
    return {"generated": generated, "preferred": preferred}


@pytest.fixture
def results(empty_results: Results) -> Results:
    """Two experiments: one with everything, one with pairs only."""
    made, title = empty_results, "Word problems & dialogues"
    made.base("tutor", title, generated(2.5, 0.0721, 0.2))
    made.trial("sft_1", "sft", generated(1.25, 0.1176, 0.5))
    by_epochs = TRAINER | {"max_steps": -1, "num_train_epochs": 3, "learning_rate": 4e-3}
    made.trial("sft_2", "sft", generated(1.5, 0.1075, 0.4), setting={
        "lora": LORA | {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        "trainer": by_epochs,
    })  # fmt: skip
    made.trial("dpo_1", "dpo", generated(1.375, 0.1, 0.45) | preferred())
    pairs = {"experiment": "titles", "title": "Titles, 100 % of #1 {ideas}"}
    made.base("titles", pairs["title"], {"policy_accuracy": measured(0.5, 20)})
    made.trial("titles-1", "dpo", preferred(0.75, -19.0), **pairs, setting={"start": None})
    made.trial("titles-2", "dpo", {}, **pairs)
    return made
