"""Make chats of the pilot's real rows: math problems as dialogues, titles with a system turn.

    python -m pilot.chats pilot/chats

No repository at hand holds chats of several turns, so these are made of the rows of two that are
published, each row once and in order. With HF_ENDPOINT=file:FOLDER, a folder stands in for the hub.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_jsonl
from scripts.common.hub import Repository

PROBLEMS = Repository(
    "openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee", "dataset", ["main/*.parquet"]
)
TITLES = Repository("EliasHossain/youtube-titles-dpo", "main", "dataset", ["data/*.parquet"])
EACH = 3
"""Problems in a dialogue."""
ROWS = {"train": 480, "test": 120}
"""Problems that are taken, the first of each split."""
IDEA, GUIDANCE = "\n\n**Video Idea**: ", "\n\n**Additional Guidance**:\n"


def dialogues(rows: list[Row]) -> Iterator[Row]:
    """Yield conversations, each of so many problems and their solutions in turn."""
    for start in range(0, len(rows) - EACH + 1, EACH):
        turns = []
        for row in rows[start : start + EACH]:
            turns += [_said("user", row["question"]), _said("assistant", row["answer"])]
        yield {"messages": turns}


def with_system(prompt: list[Row]) -> list[Row]:
    """Return a prompt with the task and its guidance as a system turn, and the idea as the user's.

    Raises
    ------
    BadInput
        When the prompt is not written as those of the titles are.
    """
    text = prompt[0]["content"]
    task, idea, rest = text.partition(IDEA)
    idea, guidance, rules = rest.partition(GUIDANCE)
    if len(prompt) != 1 or not (task and idea and rules):
        raise BadInput(f"{TITLES.name}: found the prompt {text!r}; allowed: task, idea, guidance")
    return [_said("system", task + guidance + rules), _said("user", idea)]


def titled(rows: list[Row]) -> Iterator[Row]:
    """Yield conversations with the preferred titles, each title of an idea once."""
    texts = {(row["prompt"][0]["content"], row["chosen"][0]["content"]): row for row in rows}
    for row in texts.values():
        yield {"messages": with_system(row["prompt"]) + row["chosen"]}


def preferred(rows: list[Row]) -> Iterator[Row]:
    """Yield the titles' pairs with a system turn."""
    for row in rows:
        yield row | {"prompt": with_system(row["prompt"])}


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _rows(repository: Repository, folder: Path) -> dict[str, list[Row]]:
    """Return a repository's rows by split, which its files' names begin with."""
    files = sorted(repository.download(folder).rglob("*.parquet"))
    return {file.name.partition("-")[0]: read_rows(file) for file in files}


def main(argv: list[str] | None = None) -> int:
    """Write problems-{train,test}.jsonl, titles.jsonl and pairs.jsonl into a folder."""
    parser = argparse.ArgumentParser(prog="python -m pilot.chats", description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        problems = _rows(PROBLEMS, Path(folder))
        titles = [row for rows in _rows(TITLES, Path(folder)).values() for row in rows]
    for split, count in ROWS.items():
        write_jsonl(arguments.out / f"problems-{split}.jsonl", dialogues(problems[split][:count]))
    write_jsonl(arguments.out / "titles.jsonl", titled(titles))
    write_jsonl(arguments.out / "pairs.jsonl", preferred(titles))
    return 0


if __name__ == "__main__":
    run(main)
