"""Canonical rows: every format, every reason to drop a row, every way to split."""

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_rows
from scripts.common.splits import SPLIT_COLUMN
from scripts.common.texts import spoken
from scripts.data import fetch, prepare
from scripts.data.dropped import counted

STRINGS = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}


def settings(kind: str, columns: dict[str, str], **more: Any) -> dict[str, Any]:
    common = {"format": kind, "columns": columns, "group": None, "min_characters": 1, "expect": {}}
    if kind not in ("instruction", "conversations"):
        common["identical"] = "drop"
    return common | more


def raw(*rows: dict[str, Any], split: str = "train") -> list[dict[str, Any]]:
    """Return rows as they are fetched: lists are JSON text."""

    def kept(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list) else value

    return [{**{key: kept(it) for key, it in row.items()}, SPLIT_COLUMN: split} for row in rows]


def said(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def test_instructions() -> None:
    rows, dropped = prepare.canonical_rows(
        raw({"q": " Two? ", "a": "2"}, {"q": "", "a": "x"}, {"q": "Three?", "a": None}),
        settings("instruction", {"prompt": "q", "completion": "a"}),
    )
    assert rows[0]["prompt"] == said("user", "Two?")
    assert rows[0]["completion"] == said("assistant", "2")
    assert rows[0]["id"] == "train-0"
    assert [(row["id"], row["reason"]) for row in dropped] == [
        ("train-1", "empty prompt"),
        ("train-2", "empty completion"),
    ]


def test_pairs_of_strings() -> None:
    rows, dropped = prepare.canonical_rows(
        raw(
            {"prompt": "p", "chosen": "c", "rejected": "r"},
            {"prompt": "p", "chosen": "c", "rejected": "c"},
        ),
        settings("pairs", STRINGS),
    )
    assert rows[0]["rejected"] == said("assistant", "r")
    assert [row["reason"] for row in dropped] == ["identical completions"]


def test_identical_pairs_may_be_kept() -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "c"}
    rows, _ = prepare.canonical_rows(raw(row), settings("pairs", STRINGS, identical="keep"))
    assert len(rows) == 1


def test_pairs_of_messages() -> None:
    good = {"prompt": said("user", "p"), "chosen": said("assistant", "c"),
            "rejected": said("assistant", "r")}  # fmt: skip
    rows, dropped = prepare.canonical_rows(
        raw(good, good | {"chosen": ["just text"]}, good | {"chosen": []}),
        settings("messages", STRINGS),
    )
    assert rows[0]["chosen"] == said("assistant", "c")
    reasons = [row["reason"] for row in dropped]
    assert reasons == ["not a list of {role, content}", "empty completion"]


ASKED, ANSWERED = said("user", "p"), said("assistant", "c")
CALLED = {"name": "f", "arguments": {}}
TOOLS = {"tools": "tools"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"prompt": said("developer", "d") + ASKED}, "unknown role 'developer' (allowed: system, "),
        ({"prompt": said("human", "p")}, "unknown role 'human'"),
        ({"prompt": said("User", "p")}, "unknown role 'User'"),
        ({"prompt": [{"role": None, "content": "p"}]}, "unknown role None"),
        ({"chosen": said("wizard", "c")}, "unknown role 'wizard'"),
        ({"prompt": [{"from": "human", "content": "p"}]}, "not a list of {role, content}"),
        ({"prompt": [{"from": "bing", "value": "p"}]}, "unknown role 'bing'"),
        ({"prompt": [{"from": "function_call", "value": "f("}]}, "a function_call is not"),
        ({"prompt": [{"role": "user", "content": None}]}, "not a list of {role, content}"),
        ({"prompt": said("x" * 99, "p")}, "unknown role 'xxxxxxxxxxxx...xxxxxxxxxxxxx' (allowed: "),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "p"}]}]}, "not a list"),
        ({"chosen": [{**ANSWERED[0], "tool_calls": [{"id": "1"}]}]}, "a tool call is not {"),
        ({"chosen": [{**ANSWERED[0], "tool_calls": [CALLED | {"arguments": "{"}]}]}, "a tool call"),
        ({"chosen": [{**ANSWERED[0], "tool_calls": [CALLED | {"arguments": [1]}]}]}, "a tool call"),
        ({"chosen": [{**ANSWERED[0], "tool_calls": "f()"}]}, "not a list of {role, content}"),
        ({"chosen": [{**ANSWERED[0], "thinking": "so"}]}, "a message has thinking (read are "),
        ({"tools": [{"type": "function"}]}, "a tool is not a JSON schema with a name"),
        ({"chosen": ANSWERED + ASKED + ANSWERED}, "completion of several turns"),
        ({"chosen": ANSWERED + ASKED}, "completion of several turns"),
        ({"chosen": ANSWERED + said("assistant", "")}, "empty completion"),
        ({"prompt": []}, "empty prompt"),
        ({"prompt": said("system", "s") + said("user", " ")}, "empty prompt"),
        ({"chosen": ASKED + ANSWERED}, "completion repeats the prompt"),
        ({"rejected": said("user", "r")}, "completion of role user (allowed: assistant)"),
        ({"rejected": ASKED}, "completion of role user (allowed: assistant)"),
        ({"prompt": ASKED + ANSWERED}, "prompt ends in an assistant turn"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_one_answer_to_a_prompt(part: dict[str, Any], reason: str) -> None:
    row = {"prompt": ASKED, "chosen": ANSWERED, "rejected": said("assistant", "r")}
    row = row | {"tools": None}
    rules = settings("messages", STRINGS | TOOLS)
    rows, dropped = prepare.canonical_rows(raw(row, row | part), rules)
    assert len(rows) == 1
    (found,) = dropped
    assert found["reason"].startswith(reason)


def test_what_a_message_has_besides_that_says_nothing_is_no_matter() -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
             {"role": "assistant", "content": ""}, {"role": "tool", "content": "4 C"}]  # fmt: skip
    rich = [{**message, "id": "7", "tool_calls": None, "name": ""} for message in asked]
    row = {"prompt": rich, "chosen": ANSWERED, "rejected": said("assistant", "r")}
    rows, _ = prepare.canonical_rows(raw(row), settings("messages", STRINGS))
    assert rows[0]["prompt"] == asked


def test_where_no_two_rows_have_one_reason_the_first_are_told() -> None:
    dropped = [{"reason": f"unknown role {number}"} for number in (7, *range(1000))]
    said = counted(dropped)
    assert said.startswith("2 × unknown role 7, 1 × unknown role 0, 1 × unknown role 1, ")
    assert said.endswith(", 1 × unknown role 19, 980 × something else")
    assert counted(dropped[:3]) == "1 × unknown role 7, 1 × unknown role 0, 1 × unknown role 1"
    assert counted([]) == "none"


def test_an_assistant_turn_behind_another_is_no_answer_to_a_prompt() -> None:
    text = "\n\nHuman: Hi\n\nAssistant: A\n\nAssistant: {}"
    row = {"chosen": text.format("B"), "rejected": text.format("C")}
    columns = {"chosen": "chosen", "rejected": "rejected"}
    _, dropped = prepare.canonical_rows(raw(row), settings("dialogues", columns, response="last"))
    assert dropped[0]["reason"].startswith("prompt ends in an assistant turn")
    rows, _ = prepare.canonical_rows(raw(row), settings("dialogues", columns, response="first"))
    assert rows[0]["chosen"] == said("assistant", "A\n\nAssistant: B")


def test_pairs_of_dialogues() -> None:
    head = "\n\nHuman: Hi\n\nAssistant: "
    rows, dropped = prepare.canonical_rows(
        raw(
            {"chosen": head + "Hello, you.", "rejected": head + "Go away."},
            {"chosen": head + "Hello.", "rejected": "\n\nHuman: Ho\n\nAssistant: Hello!"},
            {"chosen": head + "Hello, you.", "rejected": head + "No."},
            {"chosen": None, "rejected": None},
            {"chosen": head + "Hello, you.", "rejected": None},
        ),
        settings("dialogues", {"chosen": "chosen", "rejected": "rejected"},
                 response="last", min_characters=5),
    )  # fmt: skip
    assert len(rows) == 1
    assert [row["reason"] for row in dropped] == [
        "the two dialogues have different prompts",
        "completion shorter than 5 characters",
        "no assistant turn",
        "no assistant turn",
    ]


def test_the_first_turn_rule_keeps_later_turns() -> None:
    text = "\n\nHuman: Hi\n\nAssistant: A{}\n\nHuman: More\n\nAssistant: B"
    rows, _ = prepare.canonical_rows(
        raw({"chosen": text.format(1), "rejected": text.format(2)}),
        settings("dialogues", {"chosen": "chosen", "rejected": "rejected"}, response="first"),
    )
    assert rows[0]["chosen"][0]["content"].endswith("Assistant: B")


def test_the_first_turn_rule_asks_nothing_of_the_second_prompt() -> None:
    rows, dropped = prepare.canonical_rows(
        raw(
            {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Ho\n\nAssistant: B"}
        ),
        settings("dialogues", {"chosen": "chosen", "rejected": "rejected"}, response="first"),
    )
    assert dropped == []
    assert rows[0]["prompt"] == [{"role": "user", "content": "Hi"}]


def test_equal_prompts_are_one_group_unless_a_column_says_otherwise() -> None:
    data = raw(
        {"prompt": "p", "chosen": "a", "rejected": "b", "topic": 1},
        {"prompt": "p", "chosen": "c", "rejected": "d", "topic": 2},
    )
    by_prompt, _ = prepare.canonical_rows(data, settings("pairs", STRINGS))
    by_topic, _ = prepare.canonical_rows(data, settings("pairs", STRINGS, group="topic"))
    # As `sha256sum` has it of [{"role": "user", "content": "p"}].
    assert [row["group"] for row in by_prompt] == ["c69cc2d956ee1946"] * 2
    assert [row["group"] for row in by_topic] == ["1", "2"]
    other, _ = prepare.canonical_rows([data[0] | {"prompt": "P"}], settings("pairs", STRINGS))
    assert other[0]["group"] != by_prompt[0]["group"]


def test_texts_are_compared_in_one_unicode_form() -> None:
    composed, decomposed = (normalize(form, "Việt") for form in ("NFC", "NFD"))
    rows, dropped = prepare.canonical_rows(
        raw(
            {"prompt": composed, "chosen": "a", "rejected": "b"},
            {"prompt": decomposed, "chosen": "a", "rejected": "b"},
            {"prompt": "p", "chosen": composed, "rejected": decomposed},
        ),
        settings("pairs", STRINGS),
    )
    assert [row["prompt"][0]["content"] for row in rows] == [composed, decomposed]
    assert len({row["group"] for row in rows}) == 1
    assert [row["reason"] for row in dropped] == ["identical completions"]


@pytest.mark.parametrize("group", [None, "", " "])
def test_a_row_without_a_group_is_refused(group: str | None) -> None:
    data = raw(*({"prompt": "p", "chosen": "a", "rejected": "b", "topic": it} for it in (1, group)))
    with pytest.raises(BadInput, match="row train-1: column topic: found no group"):
        prepare.canonical_rows(data, settings("pairs", STRINGS, group="topic"))


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(BadInput, match=r"no column prompt; it has: question, topic$"):
        prepare.canonical_rows(raw({"question": "x", "topic": 1}), settings("pairs", STRINGS))
    assert prepare.canonical_rows([], settings("pairs", STRINGS)) == ([], [])


ROWS = [
    {"id": f"train-{i}", "group": f"g{i // 10}", "split": "train", "index": i} for i in range(200)
]


def test_slices_of_the_source() -> None:
    # Row 3 was dropped: a slice still counts the source's rows.
    rows = [row for row in ROWS if row["index"] != 3]
    splits = prepare.split_rows(
        rows, {"by": "source", "train": "train[:5]", "valid": None, "test": "train[5:7]"}
    )
    assert [row["index"] for row in splits["train"]] == [0, 1, 2, 4]
    assert [row["index"] for row in splits["test"]] == [5, 6]
    assert splits["valid"] == []


def test_overlapping_slices_are_refused() -> None:
    with pytest.raises(BadInput, match="row train-4 is in train and in test"):
        prepare.split_rows(
            ROWS, {"by": "source", "train": "train[:5]", "valid": None, "test": "train[4:]"}
        )


@pytest.mark.parametrize(
    ("rule", "empty"),
    [
        ({"by": "source", "train": "train", "valid": None, "test": "valdation"}, "test: valdation"),
        ({"by": "source", "train": "train[900:]", "valid": None, "test": None},
         "train: train[900:]"),
        ({"by": "group", "source": "train", "valid": 0.0, "test": 0.01, "seed": 0},
         "test: 0.01 of the groups of train"),
    ],
)  # fmt: skip
def test_a_split_that_would_be_empty_is_refused(rule: dict[str, Any], empty: str) -> None:
    with pytest.raises(BadInput) as caught:
        prepare.split_rows(ROWS, rule)
    name, asked = empty.split(": ")
    rest = "; the source has rows in train; dropped: none"
    assert str(caught.value) == f"split {name} is empty: {asked}{rest}"
    with pytest.raises(BadInput, match=r"the source has rows in nothing; dropped: 1 × x$"):
        prepare.split_rows([], rule, [{"reason": "x"}])


def test_a_draw_that_leaves_no_row_to_train_is_refused() -> None:
    """Of 2 rows 0.4 and 0.4 are one row each."""
    rule = {"by": "row", "source": "train", "valid": 0.4, "test": 0.4, "seed": 0}
    with pytest.raises(BadInput, match="split train is empty: the rest of the rows of train;"):
        prepare.split_rows(ROWS[:2], rule)


@pytest.mark.parametrize("by", ["row", "group"])
def test_fractions_are_drawn_by_seed(by: str) -> None:
    rule = {"by": by, "source": "train", "valid": 0.1, "test": 0.2, "seed": 3}
    splits = prepare.split_rows(ROWS, rule)
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 140,
        "valid": 20,
        "test": 40,
    }
    assert splits == prepare.split_rows(ROWS, rule)
    assert splits != prepare.split_rows(ROWS, rule | {"seed": 4})
    sides = [{row["group"] for row in rows} for rows in splits.values()]
    assert bool(sides[0] & sides[1]) == (by == "row")


def test_by_group_no_group_sits_on_two_sides() -> None:
    rule = {"by": "group", "source": "train", "valid": 0.1, "test": 0.3, "seed": 0}
    splits = prepare.split_rows(ROWS, rule)
    groups = {name: {row["group"] for row in rows} for name, rows in splits.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["valid"]
    assert not groups["valid"] & groups["test"]


def run_stage(tmp_path: Path, source: Path, rules: dict[str, Any]) -> Path:
    record = tmp_path / "raw.json"
    columns = dict.fromkeys(rules["columns"].values(), "text")
    fetch.main(["--source", json.dumps({"file": {"train": str(source)}}),
                "--columns", json.dumps(columns),
                "--rows", str(tmp_path / "raw.parquet"), "--record", str(record)])  # fmt: skip
    out = tmp_path / "out"
    rows = str(tmp_path / "raw.parquet")
    assert prepare.main(["--dataset", json.dumps(rules), "--rows", rows, "--out", str(out)]) == 0
    return out


def test_command_line_writes_splits_and_dropped(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"p{i}", "completion": "x" if i else ""} for i in range(10)]
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rules = settings("instruction", {"prompt": "prompt", "completion": "completion"})
    rules["splits"] = {"by": "row", "source": "train", "valid": 0, "test": 1 / 3, "seed": 0}
    rules["expect"] = {"test": 3}
    out = run_stage(tmp_path, source, rules)
    assert len(read_rows(out / "train.parquet")) == 6
    assert read_rows(out / "valid.parquet") == []
    assert read_rows(out / "dropped.parquet") == [
        {"id": "train-0", "split": "train", "reason": "empty completion"}
    ]


WEATHER = {"name": "weather", "arguments": {"city": "Oslo", "unit": None}}
TALK = [
    *said("user", "Oslo?"),
    {"role": "assistant", "content": None, "tool_calls": [{"id": "7", "function": WEATHER}]},
    {"role": "tool", "content": "4 C", "tool_call_id": "7"},
    {"role": "assistant", "content": " 4 ", "reasoning_content": "cold"},
    *said("user", "p"),
    *said("assistant", "c"),
]


def talked(turns: str, *talks: list[dict[str, Any]], **more: Any) -> tuple[Any, Any]:
    """Return the rows of conversations, and the dropped ones."""
    rules = settings("conversations", {"messages": "messages"} | TOOLS, turns=turns)
    return prepare.canonical_rows(
        raw(*({"messages": it, "tools": None} | more for it in talks)), rules
    )


def test_a_conversation_is_its_last_turn_and_those_before() -> None:
    """Calls have an id, a name and arguments without what Arrow filled in, whatever their form."""
    texts = [{"name": "weather", "arguments": json.dumps({"city": "Oslo"})}, WEATHER]
    talks = [
        [
            TALK[0],
            TALK[1] | {"tool_calls": [{"id": "7", "type": "function", "function": call}]},
            *TALK[2:],
        ]
        for call in texts
    ]
    rows, dropped = talked("all", *talks, [TALK[0], TALK[1] | {"tool_calls": [WEATHER]}, *TALK[2:]])
    assert not dropped
    assert [row["completion"] for row in rows] == [ANSWERED] * 3
    for row in rows[:2]:
        assert spoken(row["prompt"]) == [
            TALK[0],
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "7", "type": "function",
                 "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]},
            TALK[2],
            {"role": "assistant", "content": "4", "reasoning_content": "cold"},
            TALK[4],
        ]  # fmt: skip
    assert "id" not in spoken(rows[2]["prompt"])[1]["tool_calls"][0]


def test_messages_as_sharegpt_has_them() -> None:
    called = [{"from": "human", "value": "Oslo?"},
              {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
              {"from": "observation", "value": "4 C"}, {"from": "gpt", "value": "4"}]  # fmt: skip
    rules = settings("conversations", {"messages": "m", "system": "s"}, turns="all")
    rows, dropped = prepare.canonical_rows(
        raw({"m": called, "s": "Be brief."}, {"m": called, "s": " "}), rules
    )
    assert not dropped
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert spoken(rows[0]["prompt"]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "4 C"},
    ]
    assert rows[0]["completion"] == said("assistant", "4")
    assert rows[1]["prompt"] == rows[0]["prompt"][1:]


def test_instructions_as_alpaca_has_them() -> None:
    columns = {"prompt": "instruction", "input": "input", "completion": "output", "system": "s"}
    row = {"instruction": "Add. ", "input": "2, 2", "output": "4", "s": None}
    rows, _ = prepare.canonical_rows(
        raw(row, row | {"input": ""}, row | {"s": "Be brief."}), settings("instruction", columns)
    )
    assert [it["prompt"] for it in rows] == [
        said("user", "Add.\n\n2, 2"), said("user", "Add."),
        said("system", "Be brief.") + said("user", "Add.\n\n2, 2"),
    ]  # fmt: skip


def test_pairs_as_ultrafeedback_has_them() -> None:
    """Both sides begin with the prompt, of which there is a column as text, too."""
    columns = {"prompt": None, "chosen": "chosen", "rejected": "rejected"}
    row = {"chosen": ASKED + ANSWERED, "rejected": ASKED + said("assistant", "r")}
    rows, dropped = prepare.canonical_rows(
        raw(row, row | {"chosen": said("user", "q") + ANSWERED}), settings("messages", columns)
    )
    assert [rows[0][name] for name in STRINGS] == [ASKED, ANSWERED, said("assistant", "r")]
    assert dropped[0]["reason"] == "chosen and rejected have different prompts"


def test_each_turn_can_be_a_row() -> None:
    rows, _ = talked("each", TALK, [*said("assistant", "Hi!"), *ASKED, *ANSWERED])
    assert [row["id"] for row in rows] == ["train-0.1", "train-0.2", "train-0.3", "train-1.1"]
    assert [len(row["prompt"]) for row in rows] == [1, 3, 5, 2]
    assert len({row["group"] for row in rows}) == 2


def test_conversations_that_begin_alike_are_one_group() -> None:
    other = [*TALK[:1], *said("assistant", "Cold."), *ASKED, *ANSWERED]
    rows, _ = talked("last", TALK, other, TALK[4:])
    assert [row["group"] == rows[0]["group"] for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        ([], "last turn is not the assistant's"),
        (TALK[:-1], "last turn is not the assistant's"),
        (ANSWERED, "empty prompt"),
        (ASKED + ANSWERED + ANSWERED, "prompt ends in an assistant turn"),
        ([*said("critic", "x"), *ASKED, *ANSWERED], "unknown role 'critic'"),
    ],
)
def test_what_is_no_conversation(talk: list[dict[str, Any]], reason: str) -> None:
    rows, dropped = talked("all", talk)
    assert not rows
    assert dropped[0]["reason"].startswith(reason)


def test_tools_are_kept_as_templates_take_them() -> None:
    """Bare, wrapped, or as JSON text; what Arrow filled in is gone."""
    schema = {"name": "f", "parameters": {"x": {"type": "string", "enum": None}}}
    for given in ([schema], [{"type": "function", "function": schema}], json.dumps([schema])):
        (row,), _ = talked("all", TALK, tools=given)
        assert json.loads(row["tools"]) == [
            {"type": "function", "function": {"name": "f", "parameters": {"x": {"type": "string"}}}}
        ]


def test_command_line_writes_pairs(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n', encoding="utf-8")
    rules = settings("pairs", STRINGS)
    rules["splits"] = {"by": "source", "train": "train", "valid": None, "test": None}
    (row,) = read_rows(run_stage(tmp_path, source, rules) / "train.parquet")
    assert row.pop("group")
    assert row == {
        "id": "train-0",
        "tools": None,
        "prompt": [ASKED[0] | {"extra": None}],
        "chosen": [ANSWERED[0] | {"extra": None}],
        "rejected": [{"role": "assistant", "content": "r", "extra": None}],
    }


@pytest.mark.parametrize("left_out", ["--dataset", "--rows", "--out"])
def test_command_line_needs_all_of_its_options(left_out: str) -> None:
    given = {"--dataset": "{}", "--rows": "raw.parquet", "--out": "out"}
    del given[left_out]
    with pytest.raises(SystemExit) as exit:
        prepare.main([part for option in given.items() for part in option])
    assert exit.value.code == 2


@pytest.mark.parametrize("part", ["train", "train[:1]"])
def test_where_no_row_is_left_the_reasons_are_the_message(tmp_path: Path, part: str) -> None:
    """Of the whole source, or of a split."""
    source = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "p", "completion": ""},
        {"prompt": "q", "completion": "x" * (part != "train")},
    ]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rules = settings(
        "instruction", {"prompt": "prompt", "completion": "completion"}, min_characters=1
    )
    rules["splits"] = {"by": "source", "train": part, "valid": None, "test": None}
    found = "no row is left" if part == "train" else "split train is empty: .* has rows in train"
    with pytest.raises(BadInput, match=rf"{found}; dropped: [12] × empty completion$"):
        run_stage(tmp_path, source, rules)
    assert not (tmp_path / "out").exists()


def test_unexpected_counts_stop_the_run_and_write_nothing(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("prompt,completion\np,\nq,2\n", encoding="utf-8")
    rules = settings("instruction", {"prompt": "prompt", "completion": "completion"})
    rules["splits"] = {"by": "source", "train": "train", "valid": None, "test": None}
    rules["expect"] = {"train": 2}
    with pytest.raises(BadInput, match=r"train has 1 rows, expected 2; dropped: 1 × empty compl"):
        run_stage(tmp_path, source, rules)
    assert not (tmp_path / "out").exists()


def test_the_real_titles(hub: Path) -> None:
    """1026 and 114 rows of 114 ideas; every idea of the validation split is in train, too."""
    folder = hub / "datasets" / "EliasHossain" / "youtube-titles-dpo" / "data"
    files = {split: str(next(folder.glob(f"{split}-*"))) for split in ("train", "valid")}
    table, record = fetch.fetch_files(files, dict.fromkeys(STRINGS, "lists"))
    assert record["rows"] == {"train": 1026, "valid": 114}
    rows, dropped = prepare.canonical_rows(table.to_pylist(), settings("messages", STRINGS))
    assert not dropped
    groups = {
        split: {row["group"] for row in rows if row["split"] == split}
        for split in ("train", "valid")
    }
    assert len(groups["valid"]) == 76
    assert groups["valid"] <= groups["train"]
    assert len(groups["train"]) == 114
