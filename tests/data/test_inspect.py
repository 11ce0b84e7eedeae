"""A source that nobody has described yet: its config, and its rows as they are learned."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.common.cli import BadInput
from scripts.common.columns import first_rows
from scripts.data import inspect
from scripts.data.inspect import recognized

ASKED, ANSWERED = {"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}
CHAT = [ASKED, ANSWERED]
SHARED = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]
DIALOGUE = "\n\nHuman: p\n\nAssistant: c"


@pytest.mark.parametrize(
    ("row", "kind", "columns"),
    [
        ({"prompt": "p", "completion": "c"}, "instruction",
         {"prompt": "prompt", "completion": "completion"}),
        ({"INSTRUCTION": "p", "RESPONSE": "c", "SOURCE": "s"}, "instruction",
         {"prompt": "INSTRUCTION", "completion": "RESPONSE"}),
        ({"instruction": "p", "input": "", "output": "c", "system": "s"}, "instruction",
         {"prompt": "instruction", "input": "input", "completion": "output", "system": "system"}),
        ({"prompt": "p", "completion": "c", "Label": False}, "unpaired",
         {"prompt": "prompt", "completion": "completion", "label": "Label"}),
        ({"messages": CHAT, "prompt": "p"}, "conversations", {"messages": "messages"}),
        ({"conversations": SHARED, "tools": "[]", "system": "s"}, "conversations",
         {"messages": "conversations", "tools": "tools", "system": "system"}),
        ({"talk": CHAT}, "conversations", {"messages": "talk"}),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "pairs", {"prompt": "prompt"}),
        ({"chosen": DIALOGUE, "rejected": DIALOGUE}, "dialogues", {}),
        ({"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [ANSWERED]}, "messages",
         {"prompt": "prompt"}),
        ({"prompt": "p", "messages": None, "chosen": CHAT, "rejected": CHAT}, "messages",
         {"prompt": None}),
    ],
)  # fmt: skip
def test_layouts_are_recognized(row: dict[str, Any], kind: str, columns: dict[str, Any]) -> None:
    assert recognized(row) == {"format": kind, "columns": columns}


@pytest.mark.parametrize("row", [{"text": "p"}, {"messages": []}, {"n": 1, "messages": ["x"]}, {}])
def test_others_are_named(row: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"found the columns .*; name them by `columns:`"):
        recognized(row)


def printed_config(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.partition("\n\n")[0])
    return found["datasets"]


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its config, which reads it, and its rows; one that would be dropped is said."""
    path = tmp_path / "My rows.jsonl"
    rows = [{"conversations": SHARED}, {"conversations": SHARED[:1]}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert inspect.main([str(path)]) == 0
    said = capsys.readouterr()
    assert printed_config(said.out) == {
        "my-rows": {
            "format": "conversations",
            "source": {"file": {"train": str(path)}},
            "columns": {"messages": "conversations"},
            "splits": {"by": "group", "source": "train", "test": 0.1, "seed": 0},
        }
    }
    assert "<s><|user|>p<|assistant|>⟦c</s>⟧" in said.out
    assert "dropped: 1 × last turn is not the assistant's" in said.err


def test_a_repository(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"file:{hub}")
    assert inspect.main(["openai/gsm8k", "--name", "main"]) == 0
    out = capsys.readouterr().out
    assert printed_config(out)["gsm8k"] == {
        "format": "instruction",
        "source": {"hub": "openai/gsm8k", "revision": "main", "name": "main"},
        "columns": {"prompt": "question", "completion": "answer"},
        "splits": {"by": "source", "train": "train", "test": "test"},
    }
    assert out.count("⟦") == 2 * inspect.ROWS


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file, folder or pattern that is there, nor owner/name"):
        inspect.main([f"{tmp_path}/none.jsonl"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(BadInput, match="found no row"):
        inspect.main([f"{tmp_path}/empty.jsonl"])


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".arrow"])
def test_first_rows_are_read_whole(tmp_path: Path, suffix: str) -> None:
    import pandas

    frame = pandas.DataFrame({"a": ["1", "2", "3"], "b": ["x", "y", "z"]})
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_feather(path, compression="uncompressed")
    assert first_rows(path, 2) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
