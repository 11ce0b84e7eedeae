"""Asks a judge, prompt by prompt, whose answer is better: the trial's or its base's.

Each pair is asked in both orders, since judges favour a place (Zheng et al. 2023,
https://arxiv.org/abs/2306.05685, section 3.4): a verdict is what both say, and a tie where they
disagree. Answers that are the same are a tie without asking.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_rows
from scripts.common.rows import VERDICTS
from scripts.common.texts import cut, dialogue
from scripts.evaluate.logprob_judge import by_logprob
from scripts.evaluate.questions import Judge, Question

JUDGES: dict[str, Judge] = {"logprob": by_logprob}
"""By `judge.kind`."""


@dataclass(frozen=True)
class Duel:
    """Two answers to one prompt of a set."""

    set: str
    id: str
    prompt: str
    tuned: str
    base: str

    @property
    def differs(self) -> bool:
        """Whether there is anything to ask."""
        return self.tuned != self.base

    @property
    def questions(self) -> list[Question]:
        """The duel as a judge sees it: the trial's answer as A, then as B."""
        return [
            Question(self.prompt, self.tuned, self.base),
            Question(self.prompt, self.base, self.tuned),
        ]


def duels_of(
    name: str, settings: Row, tuned: list[Row], base: list[Row], prompts: list[Row]
) -> list[Duel]:
    """Return a set's duels, answers cut to the part that is scored.

    Raises
    ------
    BadInput
        When the base has not answered one of the prompts.
    """

    def answers(rows: list[Row]) -> dict[str, str]:
        marks = settings["answer_after"], settings["answer_before"]
        return {row["id"]: cut(row["text"], *marks) for row in rows if row["set"] == name}

    shown = {row["id"]: dialogue(row["prompt"]) for row in prompts}
    ours, theirs = answers(tuned), answers(base)
    missing = next((key for key in ours if key not in theirs), None)
    if missing is not None:
        raise BadInput(f"set {name}: found no answer of the base to {missing}; each needs one")
    return [Duel(name, key, shown[key], text, theirs[key]) for key, text in ours.items()]


def verdict(as_a: float | None, as_b: float | None) -> float:
    """Return 1 if the trial's answer wins in both orders, 0 if the base's does, else 0.5.

    Equal answers were not judged, and have no margins.
    """
    if as_a is None or as_b is None:
        return 0.5
    if as_a > 0 and as_b > 0:
        return 1.0
    return 0.0 if as_a < 0 and as_b < 0 else 0.5


def judge_duels(duels: list[Duel], settings: Row, manifest: Path) -> list[Row]:
    """Return a row a duel: the verdict, by how much in each order, and both answers' lengths.

    A margin is above 0 where the judge prefers the trial's answer, whichever place that has.
    """
    from scripts.lm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(manifest)

    def tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    questions = [question for duel in duels if duel.differs for question in duel.questions]
    found = iter(JUDGES[settings["kind"]](manifest, settings, questions) if questions else [])
    rows = []
    for duel in duels:
        as_a, as_b = (next(found), -next(found)) if duel.differs else (None, None)
        rows.append(
            {
                "set": duel.set,
                "id": duel.id,
                "verdict": verdict(as_a, as_b),
                "margin_as_a": as_a,
                "margin_as_b": as_b,
                "tuned_tokens": tokens(duel.tuned),
                "base_tokens": tokens(duel.base),
            }
        )
    return rows


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate.judge", description=__doc__)
    parser.add_argument("--tuned", type=Path, required=True, help="the trial's generations.parquet")
    parser.add_argument("--base", type=Path, required=True, help="its base's")
    parser.add_argument(
        "--sets", type=json.loads, required=True, help="settings of each judged set, by name"
    )
    parser.add_argument(
        "--sets-rows", type=Path, nargs="+", required=True,
        help="the sets' canonical splits, in order",
    )  # fmt: skip
    parser.add_argument(
        "--models", type=Path, nargs="+", required=True,
        help="manifest.json of each set's judge, in order",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)
    if {len(arguments.sets_rows), len(arguments.models)} != {len(arguments.sets)}:
        parser.error("--sets-rows and --models need one file for each set of --sets")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Write the verdicts of all sets."""
    arguments = parse_arguments(argv)

    from scripts.lm.devices import pin_threads

    pin_threads()
    tuned, base = read_rows(arguments.tuned), read_rows(arguments.base)
    # A judge of several sets is loaded once.
    asked: dict[str, list[Duel]] = defaultdict(list)
    manifests = {}
    for (name, settings), path, manifest in zip(
        arguments.sets.items(), arguments.sets_rows, arguments.models, strict=True
    ):
        judge = json.dumps(settings["judge"])
        asked[judge] += duels_of(name, settings, tuned, base, read_rows(path))
        manifests[judge] = manifest
    rows = [
        row
        for judge, duels in asked.items()
        for row in judge_duels(duels, json.loads(judge), manifests[judge])
    ]
    write_rows(arguments.out, rows, VERDICTS)
    return 0


if __name__ == "__main__":
    run(main)
