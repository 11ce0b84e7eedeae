"""A results folder of a base and two trials that answered the same prompts, written by hand."""

import json
from pathlib import Path
from typing import Any

from scripts.common.files import write_json, write_rows
from scripts.common.rows import DEMONSTRATIONS, GENERATIONS
from scripts.rating.ask import Asked, make, subjects_in, write
from scripts.rating.key import Key

Row = dict[str, Any]

EXPERIMENT, SET, DATASET = "marsupials", "hidden-set", "hidden-dataset"
BASE, FIRST, SECOND = "quokka-9b", "wombat-r16", "numbat-r8"
FOLDERS = {
    BASE: f"bases/{EXPERIMENT}",
    FIRST: f"trials/{FIRST}/seed-3",
    SECOND: f"trials/{SECOND}/seed-3",
}
SECRET = "5e" * 32
HOW = {
    "dataset": DATASET, "split": "test", "overlap": None, "scored": True, "answer_after": None,
    "answer_before": None,
}  # fmt: skip
"""How a set of prompts was answered, as metrics.json says it: what a rating reads of it."""


class Study:
    """The results folder."""

    def __init__(self, folder: Path, prompts: int = 24) -> None:
        self.root = folder / "results"
        self.ids = [f"row-{number}" for number in range(prompts)]
        self.rows([f"What is {number} + 1?" for number in range(prompts)])
        for name, first in ((BASE, "b"), (FIRST, "s"), (SECOND, "d")):
            self.model(name, [f"{first}{place} it is" for place in range(prompts)])

    def rows(self, questions: list[str]) -> None:
        """Write the canonical rows behind the prompts, two per group."""
        rows = [
            {
                "id": name,
                "group": f"g{place // 2}",
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": "none"}],
            }
            for place, (name, question) in enumerate(zip(self.ids, questions, strict=True))
        ]
        write_rows(self.root / f"data/{DATASET}/test.parquet", rows, DEMONSTRATIONS)

    def model(self, name: str, answers: list[str], seed: int = 3, **how: Any) -> str:
        """Write a model's folder and return its path; `how` is laid over HOW."""
        folder = FOLDERS[BASE] if name == BASE else f"trials/{name}/seed-{seed}"
        identity = {"experiment": EXPERIMENT, "name": name, "seed": None if name == BASE else seed}
        sets = {SET: {"settings": HOW | how, "metrics": {}, "left_out": 0}}
        write_json(self.root / folder / "metrics.json", identity | {"sets": sets})
        self.answer(folder, answers)
        return folder

    def answer(self, folder: str, answers: list[str]) -> None:
        """Write what a model answered."""
        rows = [
            {"set": SET, "id": name, "prompt": "", "text": text, "tokens": 1, "stop": "eos"}
            for name, text in zip(self.ids, answers, strict=True)
        ]
        write_rows(self.root / folder / "generations.parquet", rows, GENERATIONS)

    def made(self, secret: str = SECRET, **asked: Any) -> tuple[Key, Row]:
        """Return the key and the page's content."""
        return make(subjects_in(self.root), Asked(**asked), secret)

    def page(self, out: Path, **asked: Any) -> Row:
        """Write the page and return its key."""
        write(self.root, out, Asked(**asked))
        return json.loads((out / "key.json").read_text())
