"""The rows that are measured on have the lengths they claim."""

import math
from pathlib import Path
from statistics import mean, median, pstdev

import pytest

from benchmarks import corpora
from benchmarks.shapes import VOCABULARY
from scripts.common.files import read_json, read_jsonl, read_rows

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


def shared_by_all(sequences: list[list[int]]) -> int:
    """Returns with how many equal tokens all begin."""
    columns = zip(*sequences, strict=False)
    return next(place for place, column in enumerate(columns) if len(set(column)) > 1)


def check_titles(folder: Path) -> None:
    rows = read_rows(folder / "tokens.parquet")
    prompts = [row["prompt_ids"] for row in rows]
    completions = [row[name] for row in rows for name in COLUMNS[1:]]
    assert len(rows) == 1026
    assert len(set(map(tuple, prompts))) == 114
    assert shared_by_all(prompts) == 38
    assert shared_by_all([prompt[::-1] for prompt in prompts]) == 35
    assert mean(map(len, prompts)) == pytest.approx(79.6, abs=1)
    assert min(map(len, completions)) == 7
    assert 18 <= max(map(len, completions)) <= 20
    assert mean(map(len, completions)) == pytest.approx(12.2, abs=0.3)
    # An idea has five titles, so a prompt has five completions.
    assert len({(*p, *c) for p, c in zip(prompts, completions[::2], strict=True)}) <= 5 * 114
    assert max(token for row in rows for name in COLUMNS for token in row[name]) < VOCABULARY


def test_made_up_titles(tmp_path: Path) -> None:
    corpora.write_titles(tmp_path / "titles", tmp_path / "no hub")
    assert read_json(tmp_path / "titles" / "source.json") == {"titles": "made up"}
    check_titles(tmp_path / "titles")


def test_real_titles_in_fewer_tokens_are_the_same_titles(hub: Path, tmp_path: Path) -> None:
    """The tokenizer that is cut down spells every row as Qwen2.5's own does, under new ids."""
    from transformers import AutoTokenizer

    corpora.write_titles(tmp_path / "titles", hub)
    check_titles(tmp_path / "titles")
    whole = AutoTokenizer.from_pretrained(hub / corpora.QWEN)
    cut = AutoTokenizer.from_pretrained(tmp_path / "titles" / "tokenizer")
    texts = [
        cut.apply_chat_template(row["prompt"] + row["chosen"], tokenize=False)
        for row in read_jsonl(tmp_path / "titles" / "train.jsonl")
    ]
    theirs = [whole.convert_ids_to_tokens(whole(text)["input_ids"]) for text in texts]
    assert [cut.convert_ids_to_tokens(cut(text)["input_ids"]) for text in texts] == theirs
    tokens = read_rows(tmp_path / "titles" / "tokens.parquet")
    assert cut.decode(tokens[0]["prompt_ids"] + tokens[0]["chosen_ids"]) == texts[0]


def test_dialogues() -> None:
    rows = corpora.dialogues(500)
    shared = [shared_by_all([row["chosen_ids"], row["rejected_ids"]]) for row in rows]
    assert mean(len(row["prompt_ids"]) for row in rows) == pytest.approx(43, abs=2)
    assert mean(len(r[name]) for r in rows for name in COLUMNS[1:]) == pytest.approx(150, abs=5)
    assert mean(shared) == pytest.approx(110, abs=5)


def test_problems() -> None:
    lengths = [len(r["prompt_ids"] + r["completion_ids"]) for r in corpora.problems(2000)]
    assert median(lengths) == pytest.approx(161, abs=5)
    assert pstdev(map(math.log, lengths)) == pytest.approx(0.354, abs=0.02)
    assert max(lengths) <= 512


def test_problems_spread_as_the_real_ones_do(hub: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(hub / corpora.QWEN)
    path = "datasets/qwedsacf/grade-school-math-instructions/data/train-00000-of-00001.parquet"
    form = "### Instruction:\n{INSTRUCTION}\n\n### Response:\n{RESPONSE}"
    rows = read_rows(hub / path)[:5000]
    logs = [math.log(len(tokenizer(form.format(**row))["input_ids"])) for row in rows]
    assert pstdev(logs) == pytest.approx(corpora.SPREAD, abs=0.005)


def test_the_same_rows_every_time() -> None:
    assert corpora.dialogues(3) == corpora.dialogues(3)
    assert corpora.problems(3) == corpora.problems(9)[:3]
    assert corpora.made_up_titles() == corpora.made_up_titles()
