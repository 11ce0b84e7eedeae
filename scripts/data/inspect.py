"""Looks at a source of rows: which config reads it, and how its first rows would be learned.

    python -m scripts.data.inspect rows.jsonl
    python -m scripts.data.inspect openai/gsm8k --name main --model ../models/qwen

A repository of the hub is downloaded for it, and deleted afterwards.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.columns import data_files, first_rows
from scripts.common.files import Row, read_text
from scripts.common.hub import Repository
from scripts.data.dropped import counted
from scripts.data.fetch import split_files

if TYPE_CHECKING:
    pass

DEMO = Path(__file__).resolve().parents[2] / "demo" / "base"
ROWS = 3
LENGTH = 2048
CHATS = ("messages", "conversations", "conversation", "dialogue", "chat")
PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input")
ANSWERS = ("completion", "response", "output", "answer", "solution")
LABELS = ("label", "desirable", "is_desirable", "good")
SIDES = ("chosen", "rejected")


def recognized(row: Row) -> Row:
    """Return the format and the columns that read rows like this one.

    Raises
    ------
    BadInput
        When no format does.
    """
    texts = [name for name, value in row.items() if isinstance(value, str)]
    chats = [name for name, value in row.items() if _is_chat(value)]
    more = {role: role for role in ("system",) if role in texts and row[role] != ""}
    more |= {role: role for role in ("tools",) if row.get(role)}
    if set(SIDES) <= set(chats):
        prompt = next((name for name in chats if name not in SIDES), None)
        return {"format": "messages", "columns": {"prompt": prompt, **more}}
    if set(SIDES) <= set(texts):
        if "Human:" in row["chosen"] and "Assistant:" in row["chosen"]:
            return {"format": "dialogues", "columns": {}}
        if prompt := _named(texts, PROMPTS):
            return {"format": "pairs", "columns": {"prompt": prompt}}
    if chat := _named(chats, CHATS) or next(iter(chats), None):
        return {"format": "conversations", "columns": {"messages": chat, **more}}
    prompt, answer = _named(texts, PROMPTS), _named(texts, ANSWERS)
    label = _named([name for name, value in row.items() if isinstance(value, bool)], LABELS)
    if prompt and answer and label:
        more.pop("tools", None)
        columns = {"prompt": prompt, "completion": answer, "label": label, **more}
        return {"format": "unpaired", "columns": columns}
    if prompt and answer:
        more.pop("tools", None)
        if prompt != "input" and "input" in texts:
            more["input"] = "input"
        columns = {"prompt": prompt, "completion": answer, **more}
        return {"format": "instruction", "columns": columns}
    found = ", ".join(f"{name} ({_kind(value)})" for name, value in row.items()) or "none"
    raise BadInput(
        f"found the columns {found}; name them by `columns:` of a format in docs/formats/"
    )


def _is_chat(value: Any) -> bool:
    """Return True if a value is a list of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(it, dict) and ("role" in it or "from" in it) for it in value)
    )


def _kind(value: Any) -> str:
    return "messages" if _is_chat(value) else type(value).__name__


def _named(columns: list[str], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of some names, in whatever case."""
    found = {column.lower(): column for column in columns}
    return next((found[name] for name in names if name in found), None)


def config_of(source: Row, row: Row, splits: list[str]) -> Row:
    """Return the config of a dataset: what is default is left out."""
    read = recognized(row)
    columns = {role: name for role, name in read["columns"].items() if role != name}
    rules: Row = {"by": "group", "source": splits[0], "test": 0.1, "seed": 0}
    if "train" in splits and "test" in splits:
        rules = {"by": "source", "train": "train", "test": "test"}
    always = {role: name for role, name in read["columns"].items() if role in ("system", "tools")}
    columns |= always | ({"input": "input"} if "input" in read["columns"] else {})
    return {
        "format": read["format"],
        "source": source,
        **({"columns": columns} if columns else {}),
        "splits": rules,
    }


def learned(config: Row, raw: list[Row], folder: Path, template: Path | None) -> Iterator[Row]:
    """Yield how rows would be learned, as `doctor.shown` does; stderr says which are dropped."""
    from pydantic import TypeAdapter

    from scripts.common.columns import as_kept
    from scripts.common.splits import SPLIT_COLUMN
    from scripts.config.data import ConversationData, Dataset, kinds_of
    from scripts.data.doctor import Split, shown
    from scripts.data.prepare import canonical_rows
    from scripts.data.tokenize import COMPLETIONS, Encoder, tokenize_rows
    from scripts.lm.tokenizers import read_tokenizer

    dataset: Dataset = TypeAdapter(Dataset).validate_json(json.dumps(config))
    kinds = kinds_of(dataset)
    named = [
        as_kept(row, f"row {number}", kinds) | {SPLIT_COLUMN: "train"}
        for number, row in enumerate(raw, 1)
    ]
    rows, dropped = canonical_rows(named, dataset.model_dump(mode="json", exclude={"source"}))
    text = read_text(template) if template else None
    name = template.name if template else "the tokenizer's chat template"
    every = isinstance(dataset, ConversationData) and dataset.turns == "all"
    tokenizer = read_tokenizer(folder)
    tokens, report = tokenize_rows(
        rows, Encoder(tokenizer, text, name), COMPLETIONS[dataset.rows], LENGTH, every=every
    )
    if lost := [*dropped, *report["dropped"]]:
        print(f"dropped: {counted(lost)}", file=sys.stderr)
    yield from shown([Split("train", rows, tokens, report)], tokenizer)


def looked_at(source: str, name: str | None, work: Path) -> tuple[Row, list[Row], list[str]]:
    """Return a source's part of a config, its first rows, and the names of its splits."""
    path = Path(source)
    files = data_files(path)
    if path.exists() or files != [path]:
        return {"file": {"train": source}}, _rows_of(files[0], str(files[0])), ["train"]
    if not re.fullmatch(r"[^/]+/[^/]+", source):
        raise BadInput(f"found {source}: no file, folder or pattern that is there, nor owner/name")
    repository = Repository(source, "main", "dataset")
    folder = repository.download(work)
    listed = sorted(Path(file.rfilename) for file in repository.files)
    where = f"dataset {source}"
    splits = split_files(folder, listed, name, where)
    first = next(iter(splits.values()))[0]
    rows = _rows_of(folder / first, f"{where}: {first}")
    found = {
        "hub": source,
        "revision": repository.origin["commit"] or "main",
        **({"name": name} if name else {}),
    }
    return found, rows, list(splits)


def _rows_of(path: Path, where: str) -> list[Row]:
    try:
        rows = first_rows(path, ROWS)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    if not rows:
        raise BadInput(f"{where}: found no row")
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the config, and the rows as they would be learned."""
    parser = argparse.ArgumentParser(
        prog="prefmake inspect", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("source", help="a file, folder or pattern, or owner/name on the hub")
    parser.add_argument("--name", help="the configuration of a repository that has several")
    parser.add_argument(
        "--model", type=Path, default=DEMO, help="folder with the tokenizer (default: the demo's)"
    )
    parser.add_argument("--template", type=Path, help="Jinja file; else the tokenizer's own")
    arguments = parser.parse_args(argv)

    import yaml

    from scripts.terminal.console import terminal
    from scripts.terminal.doctor import as_learned

    with tempfile.TemporaryDirectory() as work:
        source, rows, splits = looked_at(arguments.source, arguments.name, Path(work))
    config = config_of(source, rows[0], splits)
    slug = re.sub(r"[^a-z0-9]+", "-", Path(arguments.source).stem.lower()).strip("-") or "rows"
    text = yaml.safe_dump({"datasets": {slug: config}}, sort_keys=False, default_flow_style=None)
    console = terminal()
    console.print(text, soft_wrap=True)
    for row in learned(config, rows, arguments.model, arguments.template):
        console.print(as_learned(row), "\n", soft_wrap=True, sep="")
    return 0


if __name__ == "__main__":
    run(main)
