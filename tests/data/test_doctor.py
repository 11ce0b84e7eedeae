"""Every pitfall, in rows written to have it and in rows that do not."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_json, write_rows
from scripts.common.rows import DEMONSTRATIONS, DROPPED
from scripts.common.templates import TEMPLATES
from scripts.data import doctor, fetch, prepare, tokenize
from scripts.data.doctor import Split, end_ids, examine, examine_held_out, examine_rows
from scripts.data.dropped import LONGEST, MOST, counted, told
from scripts.data.tokenize import Encoder, tokenize_rows
from scripts.lm.tokenizers import load_tokenizer

Row = dict[str, Any]
Tokenizer = Any

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana", "Ian", "Jo"]


def said(role: str, content: str) -> list[Row]:
    return [{"role": role, "content": content}]


def question(name: str) -> str:
    return f"{name} has three pens in a box, and finds four more of them. How many has {name} now?"


def demonstration(name: str, prompt: str, completion: str, group: str | None = None) -> Row:
    return {"id": name, "group": group or prompt, "prompt": said("user", prompt),
            "completion": said("assistant", completion)}  # fmt: skip


def pair(name: str, prompt: str, chosen: str, rejected: str, group: str | None = None) -> Row:
    return {
        "id": name,
        "group": group or prompt,
        "prompt": said("user", prompt),
        "chosen": said("assistant", chosen),
        "rejected": said("assistant", rejected),
    }


def split(*rows: Row, name: str = "test") -> Split:
    return Split(name, list(rows), [], {})


def only(findings: list[Row], check: str) -> Row:
    (found,) = [finding for finding in findings if finding["check"] == check]
    return found


def short(found: Row) -> tuple[str, int, int, list[str]]:
    return found["severity"], found["count"], found["of"], found["examples"]


# ------------------------------------------------------------------- a held-out split and training


def test_leaked_groups() -> None:
    train = [demonstration("a", "p", "x"), demonstration("b", "q", "y")]
    test = split(*(demonstration(f"t{i}", p, f"z{i}") for i, p in enumerate("ppqr")))
    found = only(examine_held_out(test, train), "leaked_groups")
    assert short(found) == ("error", 2, 3, ["t0", "t1", "t2"])
    assert "they are 3 of 4 rows" in found["text"]
    clean = only(examine_held_out(split(demonstration("t", "r", "z")), train), "leaked_groups")
    assert short(clean) == ("ok", 0, 1, [])


def near(prompt: str, *others: str, group: str = "g") -> list[Row]:
    train = [demonstration(f"r{i}", text, f"{i}") for i, text in enumerate(others)]
    return examine_held_out(split(demonstration("t", prompt, "seven pens", group)), train)


def test_a_prompt_with_other_case_and_marks_is_a_near_duplicate() -> None:
    findings = near(question("Ada"), question("Ada").upper().replace(",", " –"))
    assert short(only(findings, "near_duplicate_prompts")) == ("warning", 1, 1, ["t"])


def test_one_name_of_many_words_is_a_near_duplicate() -> None:
    # 30 words are 26 5-grams; another last word changes one of them: 25 of 27.
    words = [f"w{i}" for i in range(30)]
    findings = near(" ".join(words), " ".join([*words[:-1], "other"]))
    assert only(findings, "near_duplicate_prompts")["count"] == 1
    # The middle word is in five 5-grams: 21 of 31.
    findings = near(" ".join(words), " ".join([*words[:15], "other", *words[16:]]))
    assert only(findings, "near_duplicate_prompts")["count"] == 0


def test_a_part_of_a_longer_prompt_is_no_near_duplicate() -> None:
    text = question("Ada")
    findings = near(text, f"{text} And how many would it be if {text}")
    assert only(findings, "near_duplicate_prompts")["count"] == 0


def test_the_own_group_is_leakage_by_group_and_no_near_duplicate() -> None:
    findings = near(question("Ada"), question("Ada"), group=question("Ada"))
    assert only(findings, "leaked_groups")["count"] == 1
    assert only(findings, "near_duplicate_prompts")["count"] == 0


def test_prompts_that_share_an_instruction_are_no_near_duplicates() -> None:
    head = "Write a title for the video."
    findings = near(f"{head} Idea: knots for the pocket", f"{head} Idea: bread without an oven")
    assert only(findings, "near_duplicate_prompts")["count"] == 0


def test_near_duplicate_texts_count_the_completion() -> None:
    long = " ".join(f"w{i}" for i in range(40))
    train = [demonstration("r", "Say it", long)]
    found = examine_held_out(split(demonstration("t", "Say it now", long)), train)
    assert only(found, "near_duplicate_texts")["count"] == 1
    assert only(found, "near_duplicate_prompts")["count"] == 0


def test_known_pairs() -> None:
    train = [pair("r0", "p", "a", "b"), pair("r1", "p", "b", "c"), pair("r2", "q", "d", "a")]
    test = split(pair("t0", "p", "c", "a"), pair("t1", "p", "a", "d"), pair("t2", "q", "b", "c"))
    found = only(examine_held_out(test, train), "known_pairs")
    assert short(found) == ("error", 1, 3, ["t0"])


# ------------------------------------------------------------------------------- rows of one split


def test_clean_rows() -> None:
    rows = [demonstration(f"a{i}", question(name), f"{name} has seven pens now.")
            for i, name in enumerate(NAMES)]  # fmt: skip
    pairs = [pair(f"b{i}", question(name), "That makes seven.", "Seven, I believe.")
             for i, name in enumerate(NAMES)]  # fmt: skip
    for findings in (examine_rows(split(*rows)), examine_rows(split(*pairs))):
        assert {finding["severity"] for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("check", "severity", "odd"),
    [
        ("empty_completions", "error", [pair("x", "p", "a whole answer", " ")]),
        ("short_completions", "note", [pair("x", "p", "a whole answer", "no")]),
        ("duplicate_rows", "warning", [pair("y", "Say: p!", "a whole answer", "another answer"),
                                       pair("x", "say p", "A whole answer.", "Another answer")]),
        ("equal_completions", "warning", [pair("x", "p", "a whole answer", "a whole answer")]),
        ("prefix_completions", "note", [pair("x", "p", "a whole answer", "a whole answer, or so")]),
    ],
)  # fmt: skip
def test_odd_rows(check: str, severity: str, odd: list[Row]) -> None:
    good = pair("good", "q", "an answer of words", "words of an answer")
    found = only(examine_rows(split(good, *odd)), check)
    assert short(found) == (severity, 1, 1 + len(odd), ["x"])


def test_contradictory_pairs() -> None:
    rows = [pair("x", "p", "a", "b"), pair("y", "p", "b", "a"), pair("z", "q", "b", "a"),
            pair("w", "p", "a", "c")]  # fmt: skip
    found = only(examine_rows(split(*rows)), "contradictory_pairs")
    assert short(found) == ("warning", 2, 4, ["x", "y"])


# ------------------------------------------------------------------------------------------ tokens


@pytest.fixture
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


TURNS = (
    "{%- for m in messages -%}{{- '[' + m['role'] + ']' + m['content'] -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '[assistant]' -}}{%- endif -%}"
)
ENDED = (
    "{{- bos_token -}}"
    "{%- for m in messages -%}{{- '[' + m['role'] + ']' + m['content'] -}}"
    "{%- if m['role'] == 'assistant' -%}{{- eos_token + BEHIND -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '[assistant]' -}}{%- endif -%}"
)


def tokens_of(
    tokenizer: Tokenizer,
    template: str | None,
    *rows: Row,
    max_length: int = 512,
    max_prompt_length: int | None = None,
    generation: str | None = None,
) -> list[Row]:
    """Return the findings on rows tokenized with a template."""
    completions = ("chosen", "rejected") if "chosen" in rows[0] else ("completion",)
    lengths = max_length, max_prompt_length
    kept, report = tokenize_rows(list(rows), Encoder(tokenizer, template), completions, *lengths)
    encoder = Encoder(tokenizer, generation or template)
    examined = Split("train", list(rows), kept, report)
    return examine([examined], [], tokenizer, {tokenizer.eos_token_id}, encoder)


@pytest.mark.parametrize(
    ("template", "such"),
    [("qwen2_5", r"\n"), ("qwen3_instruct_2507", None), ("lfm2", None)],
)
@pytest.mark.parametrize("every", [True, False])
def test_generation_marks(hub: Path, template: str, such: str | None, every: bool) -> None:
    """TRL's of Qwen2.5 begin a line too early; where they are right, nothing is said."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(hub / "models" / "Qwen" / "Qwen2.5-14B-Instruct")
    path = files("trl") / "chat_templates" / f"{template}_training.jinja"
    encoder = Encoder(tokenizer, path.read_text(encoding="utf-8"), "t.jinja")
    row = demonstration("a", "2+2?", "6")
    row["prompt"] += [*said("assistant", "4"), *said("user", "and 3+3?")]
    kept, report = tokenize_rows([row], encoder, ("completion",), 64, every=every)
    (found,) = doctor.other_marks(Split("train", [row], kept, report), encoder)
    assert (found["count"], found["of"]) == (int(such is not None), 1)
    if such:
        assert f"such as '{such * (2 if every else 1)}';" in found["text"]
    assert doctor.other_marks(Split("train", [row], kept, report), Encoder(tokenizer)) == []


def test_rows_are_shown_as_they_are_learned(tokenizer: Tokenizer) -> None:
    rows = [pair(f"p{i}", "Two?", "2", "3") for i in range(5)]
    kept, report = tokenize_rows(rows, Encoder(tokenizer), ("chosen", "rejected"), 64)
    splits = [Split("train", [], [], {}), Split("test", rows, kept, report)]
    found = doctor.shown(splits, tokenizer)
    assert [(row["id"], row["of"]) for row in found[:3]] == [
        ("p0", "chosen"), ("p0", "rejected"), ("p1", "chosen")
    ]  # fmt: skip
    assert len(found) == 6
    assert found[0]["texts"] == [("<s><|user|>Two?<|assistant|>", False), ("2</s>", True)]


GOOD = [demonstration(f"a{i}", question(name), f"{name} has seven pens now.")
        for i, name in enumerate(NAMES)]  # fmt: skip


def test_clean_tokens(tokenizer: Tokenizer) -> None:
    assert {found["severity"] for found in tokens_of(tokenizer, None, *GOOD)} == {"ok"}


@pytest.mark.parametrize(("behind", "count"), [("''", 0), ("'\\n'", 0), ("'.'", 10)])
def test_an_end_token_with_white_space_behind_it(
    tokenizer: Tokenizer, behind: str, count: int
) -> None:
    found = tokens_of(tokenizer, ENDED.replace("BEHIND", behind), *GOOD)
    assert only(found, "no_end_token")["count"] == count


def test_a_template_without_an_end_token(tokenizer: Tokenizer) -> None:
    found = only(tokens_of(tokenizer, TURNS, *GOOD), "no_end_token")
    assert short(found) == ("warning", 10, 10, ["a0", "a1", "a2", "a3", "a4"])


def test_cut_and_too_long_rows(tokenizer: Tokenizer) -> None:
    rows = [demonstration("cut", "a", "b" * 40), demonstration("long", "c" * 40, "d" * 12)]
    found = tokens_of(tokenizer, None, *rows, max_length=20)
    assert short(only(found, "cut_completions")) == ("warning", 1, 1, ["cut"])
    assert short(only(found, "too_long_prompts")) == ("warning", 1, 2, ["long"])
    assert short(only(found, "no_end_token")) == ("warning", 1, 1, ["cut"])


def test_rows_that_the_template_does_not_write_whole(tokenizer: Tokenizer) -> None:
    rows = [*GOOD, demonstration("odd", "How many?", "Seven</s> pens")]
    found = only(tokens_of(tokenizer, None, *rows), "lost_rows")
    assert short(found) == ("warning", 1, 11, ["odd"])
    assert found["text"] == "rows left out: a text has the special token </s>"


def test_pairs_that_a_cut_makes_equal(tokenizer: Tokenizer) -> None:
    rows = [pair("cut", "a", "b" * 30 + "c", "b" * 30 + "d"), pair("whole", "a", "b", "c")]
    found = only(tokens_of(tokenizer, None, *rows, max_length=20), "equal_completions")
    assert short(found) == ("warning", 1, 2, ["cut"])


def test_bos_twice(tokenizer: Tokenizer) -> None:
    template = "{{- bos_token -}}" + ENDED.replace("BEHIND", "''")
    found = tokens_of(tokenizer, template, *GOOD[:2])
    assert short(only(found, "second_bos")) == ("warning", 2, 2, ["a0", "a1"])
    assert only(found, "missing_bos")["count"] == 0


def test_no_bos_where_the_tokenizer_adds_one(tokenizer: Tokenizer) -> None:
    from tokenizers.processors import TemplateProcessing

    assert only(tokens_of(tokenizer, TURNS, *GOOD[:2]), "missing_bos")["count"] == 0
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    found = tokens_of(tokenizer, TURNS, *GOOD[:2])
    assert short(only(found, "missing_bos")) == ("warning", 2, 2, ["a0", "a1"])
    assert only(tokens_of(tokenizer, None, *GOOD[:2]), "missing_bos")["count"] == 0


def test_another_template_in_generation(tokenizer: Tokenizer) -> None:
    found = tokens_of(tokenizer, None, *GOOD, generation=TURNS)
    assert short(only(found, "other_prompts"))[:3] == ("error", 10, 10)


def test_a_cut_prompt_is_no_other_prompt(tokenizer: Tokenizer) -> None:
    rows = [*GOOD, demonstration("short", "How many?", "Seven pens now.")]
    found = tokens_of(tokenizer, None, *rows, max_prompt_length=40)
    assert short(only(found, "cut_prompts"))[:3] == ("warning", 10, 11)
    assert short(only(found, "other_prompts")) == ("ok", 0, 11, [])
    # The end that is left is that of another prompt.
    behind = "{{- 'Well: ' if add_generation_prompt -}}"
    other = tokenizer.chat_template + behind
    found = tokens_of(tokenizer, None, *rows, max_prompt_length=40, generation=other)
    assert short(only(found, "other_prompts"))[:3] == ("error", 11, 11)


@pytest.mark.parametrize(("limit", "count"), [(None, 11), (40, 1)])
def test_a_prompt_that_was_not_cut_has_its_beginning_compared(
    tokenizer: Tokenizer, limit: int | None, count: int
) -> None:
    """Generation writes something before the prompt: what was cut cannot show that."""
    rows = [*GOOD, demonstration("short", "How many?", "Seven pens now.")]
    ahead = "{{- 'Well: ' -}}" + tokenizer.chat_template
    found = tokens_of(tokenizer, None, *rows, max_prompt_length=limit, generation=ahead)
    assert short(only(found, "other_prompts"))[:3] == ("error", count, 11)


def test_a_template_of_generation_that_refuses_some_prompts(tokenizer: Tokenizer) -> None:
    own = tokenizer.chat_template
    refusing = (
        "{%- if 'Ben' in messages[0]['content'] -%}{{- raise_exception('no') -}}{%- endif -%}"
    )
    found = tokens_of(tokenizer, None, *GOOD, generation=refusing + own)
    assert short(only(found, "other_prompts")) == ("error", 1, 10, ["a1"])


def test_boundary_merges(tokenizer: Tokenizer) -> None:
    merging = (
        "{%- for m in messages -%}{{- m['content'] -}}{%- if m['role'] == 'assistant' -%}"
        "{{- eos_token -}}{%- endif -%}{%- endfor -%}"
    )
    found = tokens_of(tokenizer, merging, demonstration("x", "pe", "ns"))
    assert short(only(found, "boundary_merges")) == ("note", 1, 1, ["x"])


def test_the_pad_token(tokenizer: Tokenizer) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    found = tokens_of(tokenizer, None, *GOOD)
    assert short(only(found, "pad_is_eos")) == ("note", 1, 1, [])
    assert only(found, "no_pad_token")["severity"] == "ok"
    tokenizer.pad_token = None
    found = tokens_of(tokenizer, None, *GOOD)
    assert (only(found, "pad_is_eos")["count"], only(found, "no_pad_token")["count"]) == (1, 1)


def biased(longer: int, shorter: int) -> list[Row]:
    few, many = "seven pens", "seven pens, since three and four make seven"
    order = [(many, few)] * longer + [(few, many)] * shorter
    return [pair(f"x{i}", f"p{i}", *texts) for i, texts in enumerate(order)]


@pytest.mark.parametrize(
    ("longer", "shorter", "severity"),
    [
        (70, 30, "warning"),  # 20 points, at a standard error of 5
        (30, 70, "warning"),
        (230, 170, "ok"),  # 7.5 points, at a standard error of 2.5
        (7, 3, "ok"),  # 20 points, at a standard error of 16
    ],
)
def test_length_bias(tokenizer: Tokenizer, longer: int, shorter: int, severity: str) -> None:
    rows = [*biased(longer, shorter), pair("tie", "p", "seven pens", "seven pens")]
    found = only(tokens_of(tokenizer, None, *rows), "length_bias")
    assert (found["severity"], found["count"]) == (severity, longer)
    assert found["of"] == longer + shorter
    rule = "longer" if longer > shorter else "shorter"
    assert (
        f"'the {rule} one wins' is right in {max(longer, shorter) / found['of']:.0%}"
        in (found["text"])
    )


def test_dropped_rows_by_reason() -> None:
    dropped = [{"id": name, "split": "train", "reason": reason}
               for name, reason in (("a", "short"), ("b", "empty"), ("c", "short"))]  # fmt: skip
    short_ones, empty = doctor.examine_dropped(dropped)
    assert short(short_ones) == ("note", 2, 3, ["a", "c"])
    assert short(empty) == ("note", 1, 3, ["b"])
    assert empty["text"].endswith(": empty")
    assert doctor.examine_dropped([])[0]["severity"] == "ok"


def test_of_very_many_reasons_the_rest_is_one() -> None:
    """Each row may have its own."""
    names = ["train-7", *(f"train-{number}" for number in range(20_000))]
    dropped = [{"id": name, "split": "train", "reason": f"role {name}"} for name in names]
    found = doctor.examine_dropped(dropped)
    assert short(found[0])[:3] == ("note", 2, 20_001)
    assert len(found) == MOST + 1
    assert found[-1]["count"] == 20_000 - MOST
    assert found[-1]["text"].endswith(": something else")
    assert counted(dropped).endswith("1 × role train-19, 19980 × something else")
    assert told(ValueError("a\n" * 999)) == "a " * (LONGEST // 2) + "…"


def test_end_ids_are_the_models_and_the_tokenizers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    eos = tokenizer.eos_token_id
    assert end_ids(tmp_path, tokenizer) == {eos}
    write_json(tmp_path / "config.json", {"eos_token_id": 7})
    assert end_ids(tmp_path, tokenizer) == {eos, 7}
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [8, 9]})
    assert end_ids(tmp_path, tokenizer) == {eos, 8, 9}


# ------------------------------------------------------------------------------------ command line


def run(
    data: Path, manifest: Path, kind: str, template: Path | None = None, max_length: int = 1024
) -> Row:
    """Tokenizes the splits of a folder and returns what the doctor writes about them."""
    options = ["--template", str(template)] if template else []
    files = [str(data / f"{name}.parquet") for name in ("train", "valid", "test")]
    tokens = data / "tokens"
    tokenize.main(["--data", *files, "--model", str(manifest), "--rows", kind,
                   "--max-length", str(max_length), "--out", str(tokens), *options])  # fmt: skip
    return examined(data, manifest, *options)


def examined(data: Path, manifest: Path, *options: str) -> Row:
    files = [str(data / f"{name}.parquet") for name in ("train", "valid", "test")]
    tokens = data / "tokens"
    written = [str(tokens / Path(path).name) for path in files]
    assert doctor.main(["--name", "d.m.chat", "--data", *files, "--tokens", *written,
                        "--dropped", str(data / "dropped.parquet"),
                        "--report", str(tokens / "report.json"), "--model", str(manifest),
                        "--out", str(data / "doctor.json"), *options]) == 0  # fmt: skip
    return read_json(data / "doctor.json")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of canonical splits, validation empty."""
    for name, rows in (("train", GOOD[:8]), ("valid", []), ("test", GOOD[8:])):
        write_rows(tmp_path / f"{name}.parquet", rows, DEMONSTRATIONS)
    write_rows(tmp_path / "dropped.parquet", [], DROPPED)
    return tmp_path


def test_command_line(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = run(data, tiny_model, "demonstrations")
    assert (found["name"], found["rows"]) == ("d.m.chat", {"train": 8, "valid": 0, "test": 2})
    assert {finding["split"] for finding in found["findings"]} == {"train", "test", None}
    assert {finding["severity"] for finding in found["findings"]} == {"ok"}
    keys = ["check", "severity", "count", "of", "split", "text", "examples"]
    assert all(list(finding) == keys for finding in found["findings"])
    template = tmp_path / "turns.jinja"
    template.write_text(TURNS, encoding="utf-8")
    for options, count in (
        (["--generation-template", str(template)], 2),
        (["--generation-template", "chat"], 0),
        (["--template", str(template), "--generation-template", "chat"], 0),
        (["--template", str(template)], 2),
    ):
        findings = examined(data, tiny_model, *options)["findings"]
        others = [finding for finding in findings if finding["check"] == "other_prompts"]
        assert [finding["count"] for finding in others] == [4 * count, count]


def test_rows_that_tokenizing_left_out_are_counted(data: Path, tiny_model: Path) -> None:
    full = demonstration("full", "c" * 300, "d" * 12)
    write_rows(data / "test.parquet", [*GOOD[8:], full], DEMONSTRATIONS)
    found = run(data, tiny_model, "demonstrations", max_length=200)["findings"]
    (lost,) = [finding for finding in found if finding["examples"] == ["full"]]
    assert (lost["check"], lost["count"], lost["of"]) == ("too_long_prompts", 1, 3)


def test_tokens_of_other_rows_are_refused(data: Path, tiny_model: Path) -> None:
    run(data, tiny_model, "demonstrations")
    write_rows(data / "test.parquet", GOOD[7:], DEMONSTRATIONS)
    with pytest.raises(BadInput, match=r"not the rows of .*test.parquet; tokenize again"):
        examined(data, tiny_model)


def test_train_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--data: found test.parquet, train is needed"):
        doctor.main(["--name", "n", "--data", "test.parquet", "--tokens", "test.parquet",
                     "--dropped", "d", "--report", "r", "--model", "m", "--out", "o"])  # fmt: skip


# ----------------------------------------------------------------------------------- the real data


@pytest.fixture
def real(hub: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes the manifest of a real tokenizer, weights or not."""

    def manifest(name: str) -> Path:
        folder = os.path.relpath(hub / "models" / name, tmp_path)
        write_json(tmp_path / "manifest.json", {"folder": folder, "files": []})
        return tmp_path / "manifest.json"

    return manifest


def prepared(tmp_path: Path, files: dict[str, Path], settings: Row) -> Path:
    """Return the folder of the canonical splits of real files."""
    source = {"file": {name: str(path) for name, path in files.items()}}
    kind = "lists" if settings["format"] == "messages" else "text"
    columns = dict.fromkeys(settings["columns"].values(), kind)
    fetch.main(["--source", json.dumps(source), "--columns", json.dumps(columns),
                "--rows", str(tmp_path / "raw.parquet"),
                "--record", str(tmp_path / "raw.json")])  # fmt: skip
    settings = {"group": None, "min_characters": 1} | settings
    prepare.main(["--dataset", json.dumps(settings), "--rows", str(tmp_path / "raw.parquet"),
                  "--out", str(tmp_path / "data")])  # fmt: skip
    return tmp_path / "data"


def test_the_real_titles(hub: Path, tmp_path: Path, real: Callable[[str], Path]) -> None:
    """The published split: all 76 validation ideas are in train, and all 114 pairs known there."""
    folder = hub / "datasets" / "EliasHossain" / "youtube-titles-dpo" / "data"
    data = prepared(
        tmp_path,
        {name: next(folder.glob(f"{name}-*")) for name in ("train", "valid")},
        {"format": "messages", "identical": "drop", "expect": {"train": 1026, "test": 114},
         "columns": {column: column for column in ("prompt", "chosen", "rejected")},
         "splits": {"by": "source", "train": "train", "valid": None, "test": "valid"}},
    )  # fmt: skip
    found = run(data, real("Qwen/Qwen2.5-14B-Instruct"), "preferences")["findings"]
    leaked = only(found, "leaked_groups")
    assert (leaked["severity"], leaked["count"], leaked["of"]) == ("error", 76, 76)
    assert "they are 114 of 114 rows" in leaked["text"]
    known = only(found, "known_pairs")
    assert (known["severity"], known["count"], known["of"]) == ("error", 114, 114)
    others = {finding["check"] for finding in found if finding["severity"] != "ok"}
    assert others == {"leaked_groups", "known_pairs"}


def test_real_instructions_without_eos(
    hub: Path, tmp_path: Path, real: Callable[[str], Path]
) -> None:
    """A template without EOS, under a tokenizer that has no pad token: both are found."""
    folder = hub / "datasets" / "qwedsacf" / "grade-school-math-instructions" / "data"
    data = prepared(
        tmp_path,
        {"train": next(folder.glob("train-*"))},
        {"format": "instruction", "expect": {"train": 300, "test": 50},
         "columns": {"prompt": "INSTRUCTION", "completion": "RESPONSE"},
         "splits": {"by": "source", "train": "train[:300]", "valid": None,
                    "test": "train[300:350]"}},
    )  # fmt: skip
    manifest = real("karpathy/stories260K")
    counts = {}
    for template in ("instruction", "instruction-eos"):
        found = run(data, manifest, "demonstrations", template=TEMPLATES[template],
                    max_length=2048)["findings"]  # fmt: skip
        counts[template] = {
            f"{finding['check']} {finding['split']}": finding["count"]
            for finding in found
            if finding["severity"] != "ok"
        }
    pad = {"no_pad_token None": 1, "pad_is_eos None": 1}
    assert counts["instruction"] == {"no_end_token train": 300, "no_end_token test": 50, **pad}
    assert counts["instruction-eos"] == pad
