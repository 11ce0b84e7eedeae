"""Tokens: training and generation see the same ids, and what goes wrong is counted."""

import json
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import DEMONSTRATIONS, PREFERENCES
from scripts.common.templates import template_path
from scripts.common.texts import spoken
from scripts.data import tokenize
from scripts.data.tokenize import Encoder, tokenize_rows
from scripts.lm.tokenizers import load_tokenizer

DEMO = Path(__file__).resolve().parents[2] / "demo" / "base"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As SmolLM2's, which adds a system turn where there is none."""


def row(prompt: str, completion: str, name: str = "a") -> dict[str, object]:
    return {
        "id": name,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    """Return an encoder with the model's own chat template."""
    return Encoder(load_tokenizer(tiny_model))


def test_prompt_and_completion_join_to_the_whole_text(encoder: Encoder) -> None:
    rows, report = tokenize_rows([row("How many pens?", "7 pens")], encoder, ("completion",), 64)
    text = encoder.tokenizer.decode(rows[0]["prompt_ids"] + rows[0]["completion_ids"])
    assert text == "<s><|user|>How many pens?<|assistant|>7 pens</s>"
    assert report["boundary_merges"] == 0
    # What generation is given: the template's own text of the prompt.
    asked = encoder.render([{"role": "user", "content": "How many pens?"}], prompt=True)
    assert rows[0]["prompt_ids"] == encoder.encode(asked)


def test_a_long_completion_is_cut_and_a_row_without_room_is_dropped(encoder: Encoder) -> None:
    rows = [row("a", "b" * 40, "long"), row("c" * 40, "d", "full"), row("e", "f", "short")]
    kept, report = tokenize_rows(rows, encoder, ("completion",), 20)
    assert [r["id"] for r in kept] == ["long", "short"]
    assert len(kept[0]["prompt_ids"]) + len(kept[0]["completion_ids"]) == 20
    assert report["truncated"] == 1
    assert report["dropped"] == [{"id": "full", "reason": "the prompt fills max_length"}]
    assert report["lengths"]["sequence"]["1"] == 20
    assert report["examples"] == {"truncated": ["long"]}


def test_rows_that_repeat_an_earlier_one_are_counted(encoder: Encoder) -> None:
    """Cut to one length, two texts may become the same tokens."""
    told = [("a", "b"), ("a", "c"), ("a", "b"), ("a", "b"), ("a", "b" * 40), ("a", "b" * 50)]
    rows = [row(*text, name=str(number)) for number, text in enumerate(told)]
    kept, report = tokenize_rows(rows, encoder, ("completion",), 16)
    assert [len(it["completion_ids"]) for it in kept[4:]] == [
        16 - len(it["prompt_ids"]) for it in kept[4:]
    ]
    assert report["repeated"] == 3


def test_a_long_prompt_keeps_its_end(encoder: Encoder) -> None:
    rows = [row("c" * 40, "d", "long"), row("e", "f", "short")]
    whole, _ = tokenize_rows(rows, encoder, ("completion",), 64)
    kept, report = tokenize_rows(rows, encoder, ("completion",), 64, max_prompt_length=10)
    assert kept[0]["prompt_ids"] == whole[0]["prompt_ids"][-10:]
    assert kept[0]["completion_ids"] == whole[0]["completion_ids"]
    assert report["prompt_truncated"] == 1
    assert report["examples"] == {"prompt_truncated": ["long"]}


MERGING = (
    "{%- for m in messages -%}{{- m['content'] -}}{%- if m['role'] == 'assistant' -%}"
    "{{- eos_token -}}{%- endif -%}{%- endfor -%}"
)


def test_a_boundary_merge_is_counted_and_the_ids_still_agree(tiny_model: Path) -> None:
    encoder = Encoder(load_tokenizer(tiny_model), MERGING)
    # "pens" is one token of this tokenizer; cut in two, the halves are others.
    assert len(encoder.encode("pens")) < len(encoder.encode("pe")) + len(encoder.encode("ns"))
    rows, report = tokenize_rows([row("pe", "ns")], encoder, ("completion",), 64)
    assert report["boundary_merges"] == 1
    assert rows[0]["prompt_ids"] == encoder.encode("pe")
    assert encoder.tokenizer.decode(rows[0]["prompt_ids"] + rows[0]["completion_ids"]) == "pens</s>"


def test_a_second_bos_is_counted(tiny_model: Path) -> None:
    template = "{{- bos_token + bos_token -}}" + MERGING
    encoder = Encoder(load_tokenizer(tiny_model), template)
    _, report = tokenize_rows([row("a", "b")], encoder, ("completion",), 64)
    assert report["second_bos"] == 1


def test_a_token_that_the_model_does_not_embed_drops_its_row(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    size = len(tokenizer)
    tokenizer.add_tokens(["[new]"])
    rows = [row("a", "b", "fine"), row("a", "a [new] one", "new")]
    kept, report = tokenize_rows(rows, Encoder(tokenizer, vocabulary=size), ("completion",), 64)
    assert [r["id"] for r in kept] == ["fine"]
    reason = f"the model does not embed the token [new], with the id {size}"
    assert report["dropped"] == [{"id": "new", "reason": reason}]
    resized = Encoder(tokenizer, vocabulary=size + 1)
    assert len(tokenize_rows(rows, resized, ("completion",), 64)[0]) == 2


def test_a_template_that_writes_the_prompt_in_two_ways_is_refused(tiny_model: Path) -> None:
    template = "{%- if not add_generation_prompt -%}{{- 'other ' -}}{%- endif -%}" + MERGING
    encoder = Encoder(load_tokenizer(tiny_model), template)
    with pytest.raises(BadInput, match="writes the prompt differently"):
        tokenize_rows([row("a", "b")], encoder, ("completion",), 64)


def template(user: str = "m.content", assistant: str = "m.content", before: str = "") -> str:
    """Return a template that writes these expressions for the messages of a role."""
    return (
        before + "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{{- '[A]' + ("
        f"{assistant}) + eos_token -}}}}{{%- elif m.role == 'user' -%}}{{{{- '[U]' + ({user}) -}}}}"
        "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{- '[A]' -}}{%- endif -%}"
    )


SYSTEM = [{"role": "system", "content": "Be short."}]
THOUGHT = "<think>two and two</think>four"


@pytest.mark.parametrize(
    ("written", "told", "reason"),
    [
        ("", row("a", "b"), "t.jinja leaves out messages of the user"),
        ("Constant.", row("a", "b"), "t.jinja leaves out messages of the user"),
        (template(user="''"), row("a", "b"), "t.jinja leaves out messages of the user"),
        (template(user="m.contents or ''"), row("A", "b"), "t.jinja leaves out messages of the u"),
        (template(assistant="''"), row("a", "b"), "t.jinja leaves out messages of the assistant"),
        (template(assistant="messages[0].content + m.content"), row("a", "b"),
         "t.jinja writes messages of the user into the completion"),
        (template(), row("a", "b") | {"prompt": SYSTEM + row("a", "b")["prompt"]},
         "t.jinja leaves out messages of the system"),
        (template(assistant="m.content.split('</think>')[-1]"), row("a", THOUGHT),
         "t.jinja leaves out a part of a message of the assistant"),
        (template(user="m.content | upper"), row("a", "b"), "t.jinja leaves out messages of the u"),
        (template(user="m.content[:9999]"), row("A" * 10000, "b"),
         "t.jinja leaves out a part of a message of the user"),
        (template(before="{%- if messages[0].content == 'a' -%}{{- raise_exception('no') -}}"
                         "{%- endif -%}"), row("a", "b"), "t.jinja refuses it: no"),
        (template().partition("{%- if add_generation_prompt")[0], row("a", "b"),
         "t.jinja writes '[A]' with an answer, not at the end of a prompt"),
        (template(), row("a</s>", "b"), "a text has the special token </s>"),
        (template(), row("a", "b</s>c"), "a text has the special token </s>"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_written_whole_is_dropped(
    tiny_model: Path, written: str, told: dict[str, object], reason: str
) -> None:
    encoder = Encoder(load_tokenizer(tiny_model), written, "t.jinja")
    kept, report = tokenize_rows([told], encoder, ("completion",), 20000)
    assert kept == []
    (dropped,) = report["dropped"]
    assert dropped["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        # What is trimmed at a text's ends is no loss, and a result may be written as JSON.
        (template(user="m.content | trim", assistant="m.content | trim"), row(" a ", "b\n")),
        (template(user="m.content | tojson"), row('say "a"', "b")),
        # Thoughts are lost of those alone who have some.
        (template(assistant="m.content.split('</think>')[-1]"), row("a", "four")),
        # Another place within the prompt is the template's business.
        (template(user="m.content + ('' if loop.first else messages[0].content)"), row("a", "b")),
    ],
)
def test_a_row_that_is_written_whole_is_kept(
    tiny_model: Path, written: str, told: dict[str, object]
) -> None:
    encoder = Encoder(load_tokenizer(tiny_model), written)
    _, report = tokenize_rows([told], encoder, ("completion",), 64)
    assert report["dropped"] == []


def test_a_row_of_which_no_token_is_left_is_dropped(tiny_model: Path) -> None:
    class Deaf(Encoder):
        def encode(self, text: str) -> list[int]:
            return []

    encoder = Deaf(load_tokenizer(tiny_model), template())
    _, report = tokenize_rows([row("a", "b")], encoder, ("completion",), 64)
    assert [it["reason"] for it in report["dropped"]] == ["no token is left of the prompt"]


def test_command_line_on_pairs(tiny_model: Path, tmp_path: Path) -> None:
    said = row("a", "b")
    pair = {"id": "x", "group": "g", "prompt": said["prompt"], "chosen": said["completion"],
            "rejected": [{"role": "assistant", "content": "c"}]}  # fmt: skip
    write_rows(tmp_path / "train.parquet", [pair], PREFERENCES)
    write_rows(tmp_path / "test.parquet", [], PREFERENCES)
    out = tmp_path / "tokens"
    files = [str(tmp_path / f"{split}.parquet") for split in ("train", "test")]
    tokenize.main(["--data", *files, "--model", str(tiny_model), "--rows", "preferences",
                   "--max-length", "64", "--out", str(out)])  # fmt: skip
    tokens = read_rows(out / "train.parquet")[0]
    assert list(tokens) == ["id", "prompt_ids", "chosen_ids", "rejected_ids"]
    assert read_json(out / "report.json")["test"]["rows"] == 0


def test_where_no_row_is_left_the_reasons_are_the_message(tiny_model: Path, tmp_path: Path) -> None:
    rows = [row("a", "b") | {"id": name, "group": "g"} for name in "xy"]
    write_rows(tmp_path / "train.parquet", rows, DEMONSTRATIONS)
    with pytest.raises(
        BadInput, match=r"train\.parquet: no row is left; dropped: 2 × the prompt f"
    ):
        tokenize.main(["--data", str(tmp_path / "train.parquet"), "--model", str(tiny_model),
                       "--rows", "demonstrations", "--max-length", "1",
                       "--out", str(tmp_path / "tokens")])  # fmt: skip
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize("template", ["instruction", "instruction-eos"])
def test_the_instruction_templates_on_a_sentencepiece_vocabulary(hub: Path, template: str) -> None:
    """Such tokenizers put a space before a text of its own: the completion must not get it."""
    from transformers import AutoTokenizer

    from scripts.common.templates import template_path

    tokenizer = AutoTokenizer.from_pretrained(hub / "models" / "karpathy" / "stories260K")
    encoder = Encoder(tokenizer, template_path(template).read_text(encoding="utf-8"))
    told = row("Once upon", "a time")
    rows, report = tokenize_rows([told], encoder, ("completion",), 512)
    whole = encoder.render(told["prompt"] + told["completion"], prompt=False)
    assert rows[0]["prompt_ids"] + rows[0]["completion_ids"] == encoder.encode(whole)
    assert report["boundary_merges"] == 0
    end = tokenizer.eos_token if template.endswith("eos") else ""
    assert whole == f"<s>### Instruction:\nOnce upon\n\n### Response:\na time{end}"


def test_the_real_chat_template_of_qwen(hub: Path) -> None:
    """The longest title row of the real data is 111 tokens, prompt and title together."""
    from transformers import AutoTokenizer

    from scripts.data.fetch import fetch_files
    from scripts.data.prepare import canonical_rows

    folder = hub / "datasets" / "EliasHossain" / "youtube-titles-dpo" / "data"
    columns = dict.fromkeys(("prompt", "chosen", "rejected"), "lists")
    table, _ = fetch_files({"train": str(next(folder.glob("train-*")))}, columns)
    rules = {"format": "messages", "group": None, "min_characters": 1, "identical": "drop",
             "columns": {column: column for column in columns}}  # fmt: skip
    rows, _ = canonical_rows(table.to_pylist(), rules)
    tokenizer = AutoTokenizer.from_pretrained(hub / "models" / "Qwen" / "Qwen2.5-14B-Instruct")
    _, report = tokenize_rows(rows, Encoder(tokenizer), ("chosen", "rejected"), 1024)
    assert report["lengths"]["sequence"]["1"] <= 112
    assert report["boundary_merges"] == report["truncated"] == report["second_bos"] == 0


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TALK = [
    ("system", "Be brief."),
    ("user", "2+2?"),
    ("assistant", "4"),
    ("user", "and\n3+3?"),
    ("assistant", "6 — naïve"),
]
CALLED = [
    ("user", "Oslo?"),
    ("assistant", ""),
    ("tool", "4 C"),
    ("assistant", "4 degrees."),
    ("user", "thanks"),
    ("assistant", "welcome"),
]


def conversation(turns: list[tuple[str, str]], **extras: object) -> dict[str, object]:
    """Return a row of turns; `extras` are of the first answer, and with calls it has tools."""
    messages = [{"role": role, "content": content} for role, content in turns]
    first = next(it for it in messages if it["role"] == "assistant")
    first["extra"] = json.dumps(extras)
    tools = json.dumps(TOOLS) if "tool_calls" in extras else None
    return {"id": "a", "tools": tools, "prompt": messages[:-1], "completion": messages[-1:]}


def scored(row: dict[str, Any], tokenizer: Any) -> list[str]:
    """Return the texts of the runs of tokens that are scored."""
    flags = [*row["prompt_scored"], *(True for _ in row["completion_ids"])]
    tokens = zip(row["prompt_ids"] + row["completion_ids"], flags, strict=True)
    runs = groupby(tokens, key=lambda token: token[1])
    return [tokenizer.decode([number for number, _ in run]) for counts, run in runs if counts]


def template_of(folder: Path) -> str:
    return (folder / "chat_template.jinja").read_text(encoding="utf-8")


def real_tokenizer(hub: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(hub / "models" / "Qwen" / "Qwen2.5-14B-Instruct")


HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
END = "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "turns", "extras", "answers"),
    [
        ("Qwen2.5", TALK, {}, [f"4{END}\n", f"6 — naïve{END}\n"]),
        ("Qwen2.5", CALLED, {"tool_calls": [CALL]},
         [f"{HERMES}{END}\n", f"4 degrees.{END}\n", f"welcome{END}\n"]),
        ("SmolLM2", TALK, {}, [f"4{END}\n", f"6 — naïve{END}\n"]),
        ("TinyLlama", TALK, {}, [f"4{END}\n", f"6 — naïve{END}\n"]),
        ("demo", TALK, {}, [f"4{END}", f"6 — naïve{END}"]),
        ("instruction-eos", TALK[1:], {}, [f"4{END}", f"6 — naïve{END}"]),
    ],
)  # fmt: skip
def test_exactly_the_answers_are_scored(
    hub: Path, template: str, turns: list[tuple[str, str]], extras: dict[str, Any],
    answers: list[str],
) -> None:  # fmt: skip
    """Of every template, decoded; and the tokens are those of the whole text."""
    tokenizer = real_tokenizer(hub)
    texts = {
        "Qwen2.5": None,
        "SmolLM2": CHATML,
        "TinyLlama": template_of(hub / "models" / "TinyLlama" / "TinyLlama-1.1B-Chat-v1.0"),
        "demo": template_of(DEMO),
        "instruction-eos": template_path("instruction-eos").read_text(encoding="utf-8"),
    }
    encoder = Encoder(tokenizer, texts[template])
    row = conversation(turns, **extras)
    (found,), report = tokenize_rows([row], encoder, ("completion",), 512, every=True)
    assert scored(found, tokenizer) == answers
    assert report["boundary_merges"] == 0
    messages = spoken(row["prompt"] + row["completion"])
    whole = encoder.render(messages, False, json.loads(row["tools"] or "null"))
    assert found["prompt_ids"] + found["completion_ids"] == encoder.encode(whole)
    (last,), _ = tokenize_rows([row], encoder, ("completion",), 512)
    assert {key: found[key] for key in last} == last


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        # A mark on answers that are followed by others, and one at the very end.
        (CHATML.replace("content }}", "content }}{{ '!' if message.role == 'assistant' and not "
                        "loop.last }}"), "turn 3 differently once others follow it"),
        (CHATML + "{{ '</s>' if not add_generation_prompt }}", "turn 3 differently once others"),
        # The number of turns in the first line.
        ("{{ messages | length }}" + CHATML, "differently with and without an answer"),
    ],
)  # fmt: skip
def test_a_template_that_writes_earlier_turns_otherwise_is_refused(
    hub: Path, template: str, reason: str
) -> None:
    encoder = Encoder(real_tokenizer(hub), template)
    with pytest.raises(BadInput, match=reason):
        tokenize_rows([conversation(TALK)], encoder, ("completion",), 512, every=True)


def test_reasoning_that_a_template_strips_from_earlier_turns(hub: Path) -> None:
    """Qwen3 has the reasoning of the turn that it answers only: refused, or one by one."""
    template = files("trl").joinpath("chat_templates/qwen3.jinja").read_text(encoding="utf-8")
    tokenizer = real_tokenizer(hub)
    row = conversation(TALK, reasoning_content="two and two")
    with pytest.raises(BadInput, match=r"turn 3 differently .* \(turns: each\)"):
        tokenize_rows([row], Encoder(tokenizer, template), ("completion",), 512, every=True)
    rows = [
        {"id": "1", "prompt": row["prompt"][:2], "completion": row["prompt"][2:3]},
        {"id": "2", "prompt": row["prompt"], "completion": row["completion"]},
    ]
    kept, report = tokenize_rows(rows, Encoder(tokenizer, template), ("completion",), 512)
    assert not report["dropped"]
    texts = [tokenizer.decode(it["completion_ids"]) for it in kept]
    assert texts == [
        f"<think>\ntwo and two\n</think>\n\n4{END}\n", f"<think>\n\n</think>\n\n6 — naïve{END}\n"
    ]  # fmt: skip
    assert "two and two" not in tokenizer.decode(kept[1]["prompt_ids"])
    # TRL's training template keeps it, and may be named by `template:`.
    template = files("trl").joinpath("chat_templates/qwen3_training.jinja").read_text("utf-8")
    (whole,), _ = tokenize_rows(
        [row], Encoder(tokenizer, template), ("completion",), 512, None, True
    )
    assert scored(whole, tokenizer) == [
        f"<think>\ntwo and two\n</think>\n\n4{END}\n",
        f"<think>\n\n</think>\n\n6 — naïve{END}\n",
    ]


@pytest.mark.parametrize(
    ("extras", "reason"),
    [
        ({"tool_calls": [CALL]}, "leaves out the tools"),
        ({"name": "Ada"}, "leaves out a part of a message of the assistant"),
    ],
)
def test_what_a_template_does_not_write_is_lost(
    hub: Path, extras: dict[str, Any], reason: str
) -> None:
    encoder = Encoder(real_tokenizer(hub), CHATML)
    _, report = tokenize_rows([conversation(TALK, **extras)], encoder, ("completion",), 512)
    assert reason in report["dropped"][0]["reason"]


def test_a_cut_conversation_keeps_its_marks(encoder: Encoder) -> None:
    row = conversation([("user", "a" * 9), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    (whole,), _ = tokenize_rows([row], encoder, ("completion",), 64, every=True)
    (cut,), _ = tokenize_rows([row], encoder, ("completion",), 64, 6, every=True)
    assert cut["prompt_ids"] == whole["prompt_ids"][-6:]
    assert cut["prompt_scored"] == whole["prompt_scored"][-6:]
    assert 0 < sum(cut["prompt_scored"]) < 6
