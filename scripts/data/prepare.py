"""Turns a source's rows into canonical ones, and splits them.

Makes {train,valid,test}.parquet (empty where the dataset has no such split) and dropped.parquet,
in which every row left out stands with its reason.
"""

import argparse
import hashlib
import json
import random
import reprlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_rows
from scripts.common.rows import DEMONSTRATIONS, DROPPED, PREFERENCES, UNPAIRED
from scripts.common.splits import SPLIT_COLUMN, SPLITS, parse_slices
from scripts.common.texts import composed, said
from scripts.data.dialogues import Messages, NotADialogue, split_at_first, split_at_last
from scripts.data.dropped import counted, told


class Dropped(Exception):
    """A row that is left out; its text is the reason."""


# ------------------------------------------------------------------------------------- formats


def demonstration(row: Row, settings: Row) -> Row:
    """Return prompt and completion of an instruction row as messages."""
    columns = settings["columns"]
    texts = [
        (row[columns[role]] or "").strip() for role in ("prompt", "input") if columns.get(role)
    ]
    return {
        "prompt": _system(row, columns) + _said("user", "\n\n".join(filter(None, texts))),
        "completion": _said("assistant", row[columns["completion"]]),
    }


def pair_of_strings(row: Row, settings: Row) -> Row:
    """Return prompt, chosen and rejected of string columns as messages."""
    columns = settings["columns"]
    return {
        "prompt": _said("user", row[columns["prompt"]]),
        "chosen": _said("assistant", row[columns["chosen"]]),
        "rejected": _said("assistant", row[columns["rejected"]]),
    }


def judged(row: Row, settings: Row) -> Row:
    """Return prompt and completion of an unpaired row as messages, and whether it is good."""
    label = row[settings["columns"]["label"]]
    if label is None:
        raise Dropped("no label")
    return demonstration(row, settings) | {"label": label == "true"}


def pair_of_messages(row: Row, settings: Row) -> Row:
    """Return prompt, chosen and rejected of message columns, checked, and the tools."""
    columns = settings["columns"]
    pair = {
        role: _messages(row[columns[role]])
        for role in ("prompt", "chosen", "rejected")
        if columns[role]
    }
    if not columns["prompt"]:
        pair["prompt"], other = pair["chosen"][:-1], pair["rejected"][:-1]
        if pair["prompt"] != other:
            raise Dropped("chosen and rejected have different prompts")
        pair |= {role: pair[role][-1:] for role in ("chosen", "rejected")}
    pair["prompt"] = _system(row, columns) + pair["prompt"]
    return pair | {"tools": _tools(row, columns)}


def conversation(row: Row, settings: Row) -> Row:
    """Return the turns before the last one, and the last one, an assistant's; and the tools."""
    columns = settings["columns"]
    messages = _system(row, columns) + _messages(row[columns["messages"]])
    if not messages or messages[-1]["role"] != "assistant":
        raise Dropped("last turn is not the assistant's")
    return {"prompt": messages[:-1], "completion": messages[-1:], "tools": _tools(row, columns)}


def pair_of_dialogues(row: Row, settings: Row) -> Row:
    """Return two dialogues as their common prompt and the two responses to it.

    Split at the first turn, a pair is kept as published: whatever its second prompt says.
    """
    split = split_at_first if settings["response"] == "first" else split_at_last
    try:
        prompt, chosen = split(row[settings["columns"]["chosen"]] or "")
        other, rejected = split(row[settings["columns"]["rejected"]] or "")
    except NotADialogue as error:
        raise Dropped(str(error)) from None
    if prompt != other and settings["response"] == "last":
        raise Dropped("the two dialogues have different prompts")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


FORMATS: dict[str, Callable[[Row, Row], Row]] = {
    "instruction": demonstration,
    "conversations": conversation,
    "pairs": pair_of_strings,
    "unpaired": judged,
    "messages": pair_of_messages,
    "dialogues": pair_of_dialogues,
}


def _said(role: str, content: str | None) -> Messages:
    return [{"role": role, "content": (content or "").strip()}]


def _system(row: Row, columns: Row) -> Messages:
    """Return the system turn that stands in a column of its own, if there is one."""
    text = row[columns["system"]] if columns.get("system") else None
    return _said("system", text) if text and text.strip() else []


SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
    "function_call": "assistant",
}
"""The roles of a message of {from, value}, as ShareGPT's rows have them."""
ROLES = ("system", "user", "assistant", "tool")
EXTRAS = ("tool_calls", "reasoning_content", "name", "tool_call_id")
"""Keys of a message that templates know besides role and content."""
UNREAD = ("function_call", "reasoning", "thinking")
"""Keys that say something which no token would say; others are data about a message."""


def _messages(value: str | None) -> Messages:
    try:
        return [_message(message) for message in json.loads(value or "null")]
    except (TypeError, KeyError, AttributeError):
        raise Dropped("not a list of {role, content}") from None


def _message(message: Row) -> dict[str, str]:
    """Return a message, checked: a template would leave out in silence what it does not know."""
    if "from" in message and "role" not in message:
        message = _as_message(message)
    for key in UNREAD:
        if message.get(key):
            raise Dropped(f"a message has {key} (read are role, content, {', '.join(EXTRAS)})")
    if message["role"] not in ROLES:
        role = reprlib.repr(message["role"])
        raise Dropped(f"unknown role {role} (allowed: {', '.join(ROLES)})")
    extra = {key: message[key] for key in EXTRAS if message.get(key)}
    if "tool_calls" in extra:
        extra["tool_calls"] = [_call(call) for call in extra["tool_calls"]]
    # A message that only calls has often none.
    content = message["content"] if "tool_calls" not in extra else message.get("content") or ""
    read = {"role": message["role"], "content": str.strip(content)}
    return read | ({"extra": json.dumps(extra, ensure_ascii=False)} if extra else {})


def _as_message(message: Row) -> Row:
    """Return a message of {from, value} as one of {role, content}; a call is JSON text."""
    speaker, text = message["from"], message["value"]
    role = SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if speaker != "function_call":
        return {"role": role, "content": text}
    try:
        calls = json.loads(text)
    except ValueError:
        raise Dropped("a function_call is not JSON text") from None
    return {"role": role, "tool_calls": calls if isinstance(calls, list) else [calls]}


def _call(call: Row) -> Row:
    """Return a tool call as templates take it: its arguments are an object, no text."""
    function = call.get("function") or call
    arguments = function.get("arguments") or {}
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        arguments = None
    if not isinstance(function.get("name"), str) or not isinstance(arguments, dict):
        raise Dropped("a tool call is not {name, arguments}, these an object or one as JSON text")
    called = {"name": function["name"], "arguments": _without_nulls(arguments)}
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "type": "function", "function": called}


def _tools(row: Row, columns: Row) -> str | None:
    """Return a row's tools as JSON text, each as templates take it."""
    found = json.loads(row[columns["tools"]] or "[]") if columns.get("tools") else []
    tools = []
    for tool in found:
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Dropped("a tool is not a JSON schema with a name")
        tools.append({"type": "function", "function": _without_nulls(function)})
    return json.dumps(tools, ensure_ascii=False) if tools else None


def _without_nulls(value: Any) -> Any:
    """Return a value without keys that are null: Arrow gives all objects of a column the same."""
    if isinstance(value, dict):
        return {key: _without_nulls(it) for key, it in value.items() if it is not None}
    return [_without_nulls(it) for it in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------ cleaning


def canonical_rows(raw: list[Row], settings: Row) -> tuple[list[Row], list[Row]]:
    """Return the canonical rows, each with its source split and index, and the dropped ones.

    Raises
    ------
    BadInput
        When the source lacks a needed column.
    """
    _require_columns(raw, settings)
    kept, dropped = [], []
    counts: Counter[str] = Counter()
    for row in raw:
        split = row[SPLIT_COLUMN]
        index, counts[split] = counts[split], counts[split] + 1
        name = f"{split}-{index}"
        try:
            cleaned = FORMATS[settings["format"]](row, settings)
            _require_content(cleaned, settings)
            _require_turns(cleaned)
            group = _group(row, name, cleaned, settings)
        except Dropped as reason:
            dropped.append({"id": name, "split": split, "index": index, "reason": told(reason)})
            continue
        place = {"group": group, "split": split, "index": index}
        if settings.get("turns") == "each":
            parts = enumerate(_turns(cleaned), 1)
            kept += [{"id": f"{name}.{turn}"} | place | part for turn, part in parts]
        else:
            kept.append({"id": name} | place | cleaned)
    return kept, dropped


def _turns(row: Row) -> list[Row]:
    """Return a row for each assistant turn of a conversation, the turns before it as its prompt."""
    messages = row["prompt"] + row["completion"]
    return [
        row | {"prompt": messages[:place], "completion": [message]}
        for place, message in enumerate(messages)
        if place and message["role"] == "assistant"
    ]


def _require_columns(raw: list[Row], settings: Row) -> None:
    present = list(raw[0]) if raw else []
    for column in filter(None, [*settings["columns"].values(), settings["group"]]):
        if raw and column not in present:
            allowed = ", ".join(name for name in present if name != SPLIT_COLUMN)
            raise BadInput(f"the source has no column {column}; it has: {allowed}")


def _completions(row: Row) -> list[Messages]:
    return [row[name] for name in ("completion", "chosen", "rejected") if name in row]


def _require_content(row: Row, settings: Row) -> None:
    """Raise Dropped for a row from which nothing can be learned."""
    if not row["prompt"] or not said(row["prompt"][-1:]):
        raise Dropped("empty prompt")
    for completion in _completions(row):
        length = len(said(completion[-1:]))
        if not length:
            raise Dropped("empty completion")
        if length < settings["min_characters"]:
            raise Dropped(f"completion shorter than {settings['min_characters']} characters")
    if settings.get("identical") == "drop" and said(row["chosen"]) == said(row["rejected"]):
        raise Dropped("identical completions")


def _require_turns(row: Row) -> None:
    """Raise Dropped for a row whose completion is not the assistant's one answer to its prompt."""
    for completion in _completions(row):
        if len(completion) > 1 and completion[: len(row["prompt"])] == row["prompt"]:
            raise Dropped("completion repeats the prompt (allowed: one assistant turn)")
        if len(completion) > 1:
            raise Dropped("completion of several turns (allowed: one assistant turn)")
        if completion[0]["role"] != "assistant":
            raise Dropped(f"completion of role {completion[0]['role']} (allowed: assistant)")
    if row["prompt"][-1]["role"] == "assistant":
        raise Dropped("prompt ends in an assistant turn (an answer follows a user's or a tool's)")


def _group(row: Row, name: str, cleaned: Row, settings: Row) -> str:
    """Return what row `name` belongs to. Raises BadInput for one that belongs to nothing."""
    if settings["group"]:
        group = row[settings["group"]]
        if group is None or not str(group).strip():
            raise BadInput(
                f"row {name}: column {settings['group']}: found no group; each row needs one"
            )
        return str(group)
    messages = cleaned["prompt"]
    if settings["format"] == "conversations":
        # Two that begin alike are not held out from each other.
        messages = takewhile(lambda message: message["role"] != "assistant", messages)
    prompt = [message | {"content": composed(message["content"])} for message in messages]
    return hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:16]


# ----------------------------------------------------------------------------------- splitting


def split_rows(rows: list[Row], splits: Row, dropped: Sequence[Row] = ()) -> dict[str, list[Row]]:
    """Return the rows of each split, in the source's order.

    Raises
    ------
    BadInput
        When two splits would share a row, or one that is asked for would be empty.
    """
    if splits["by"] == "source":
        chosen = {split: _sliced(rows, splits[split]) for split in SPLITS}
        _require_disjoint(chosen)
    else:
        pool = _sliced(rows, splits["source"])
        key = "group" if splits["by"] == "group" else "id"
        sides = _draw(list(dict.fromkeys(row[key] for row in pool)), splits)
        chosen = {split: [row for row in pool if sides[row[key]] == split] for split in SPLITS}
    for split in SPLITS:
        # A draw leaves the rest to train, which it does not name.
        if not chosen[split] and splits.get(split, True):
            sources = ", ".join(dict.fromkeys(row["split"] for row in rows)) or "nothing"
            raise BadInput(
                f"split {split} is empty: {_asked(split, splits)}; the source has rows in "
                f"{sources}; dropped: {counted(dropped)}"
            )
    return chosen


def _asked(split: str, splits: Row) -> str:
    """Return what a split is to be, in words."""
    if splits["by"] == "source":
        return str(splits[split])
    return f"{splits.get(split, 'the rest')} of the {splits['by']}s of {splits['source']}"


def _sliced(rows: list[Row], expression: str | None) -> list[Row]:
    """Return the rows of a slice; it counts the source's rows, dropped ones included."""
    if expression is None:
        return []
    return [
        row
        for split, start, stop in parse_slices(expression)
        for row in rows
        if row["split"] == split
        and (start is None or row["index"] >= start)
        and (stop is None or row["index"] < stop)
    ]


def _require_disjoint(splits: dict[str, list[Row]]) -> None:
    seen: dict[str, str] = {}
    for split, rows in splits.items():
        for row in rows:
            if row["id"] in seen:
                raise BadInput(f"row {row['id']} is in {seen[row['id']]} and in {split}")
            seen[row["id"]] = split


def _draw(units: list[str], splits: Row) -> dict[str, str]:
    """Return the split of each unit, drawn with the seed; fractions are rounded to whole units."""
    shuffled = units.copy()
    random.Random(splits["seed"]).shuffle(shuffled)
    tests = round(splits["test"] * len(units))
    valids = round(splits["valid"] * len(units))
    sides = ["test"] * tests + ["valid"] * valids
    sides += ["train"] * (len(units) - len(sides))
    return dict(zip(shuffled, sides, strict=True))


def _require_counts(
    splits: dict[str, list[Row]], dropped: list[Row], expect: dict[str, int | None]
) -> None:
    for split, wanted in expect.items():
        if wanted not in (None, len(splits[split])):
            raise BadInput(
                f"split {split} has {len(splits[split])} rows, expected {wanted}; "
                f"dropped: {counted(dropped)}"
            )


# -------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> int:
    """Write the splits and the dropped rows into a folder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.data.prepare", description=__doc__)
    parser.add_argument("--dataset", type=json.loads, required=True, help="the resolved dataset")
    parser.add_argument("--rows", type=Path, required=True, help="raw.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder of the Parquet files")
    arguments = parser.parse_args(argv)
    settings = arguments.dataset

    raw = read_rows(arguments.rows)
    try:
        rows, dropped = canonical_rows(raw, settings)
        if not rows:
            raise BadInput(f"no row is left; dropped: {counted(dropped)}")
        splits = split_rows(rows, settings["splits"], dropped)
        _require_counts(splits, dropped, settings["expect"])
    except BadInput as error:
        raise BadInput(f"{arguments.rows}: {error}") from None
    schema = (
        PREFERENCES if "chosen" in rows[0] else UNPAIRED if "label" in rows[0] else DEMONSTRATIONS
    )
    for split, members in splits.items():
        columns = [{name: row.get(name) for name in schema.names} for row in members]
        write_rows(arguments.out / f"{split}.parquet", columns, schema)
    reasons = [{name: row[name] for name in DROPPED.names} for row in dropped]
    write_rows(arguments.out / "dropped.parquet", reasons, DROPPED)
    return 0


if __name__ == "__main__":
    run(main)
