"""The rows that are measured on have the lengths they claim."""

import gzip
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, pstdev

import pyarrow
import pytest
from pyarrow import parquet

from benchmarks import corpora
from benchmarks.cases import CASES, REAL
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


def test_made_up_titles(folder: Path) -> None:
    assert read_json(folder / "titles" / "source.json") == {"titles": "made up"}
    check_titles(folder / "titles")


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


TEXT = {
    "hh-rlhf": [
        "<s>### Instruction:\nHow?\n\n### Response:\n",
        "Like that one.</s>",
        "Never do it!</s>",
    ],
    "gsm8k": ["<s>### Instruction:\n3 + 4?\n\n### Response:\n", "3 + 4 = 7\n#### 7</s>"],
}
"""The parts of the last row of a corpus of `write_hub`, as text."""


def write_hub(hub: Path) -> None:
    """Write a few rows where the real ones stand in the hub's repositories."""
    said = [{"role": "user", "content": "An idea"}]
    titles = [[{"role": "assistant", "content": text}] for text in ("One title", "Another one")]
    pairs = [{"prompt": said, "chosen": titles[0], "rejected": titles[1]}] * 3
    problems = [{"question": "3 + 4?", "answer": "3 + 4 = 7\n#### 7"}] * 3
    for corpus, rows in {"titles": pairs, "gsm8k": problems}.items():
        path = corpora.REAL_ROWS[corpus].path(hub)
        path.parent.mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    path = corpora.REAL_ROWS["hh-rlhf"].path(hub)
    path.parent.mkdir(parents=True)
    start = "\n\nHuman: How?\n\nAssistant: "
    dialogues = [
        {"chosen": f"{start}No", "rejected": f"{start}Too short to count"},
        {"chosen": f"{start}Like that one.", "rejected": f"{start}Never do it!"},
    ]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, dialogues)).encode()))


def test_real_rows_become_the_tokens_of_a_run(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from benchmarks.contestants import rows_of, write_real

    base = tiny_model.parent / "snapshot"
    write_hub(tmp_path / "hub")
    write_real(tmp_path / "models" / REAL, base, tmp_path / "hub")
    tokenizer = AutoTokenizer.from_pretrained(base)
    for corpus, text in TEXT.items():
        case = next(case for case in CASES if case.real and case.corpus == corpus)
        (row,) = rows_of(replace(case, steps=1, batch=1, accumulation=1), tmp_path)
        names = [name for name in ("prompt_ids", "completion_ids", *COLUMNS[1:]) if name in row]
        assert [tokenizer.decode(row[name]) for name in names] == text
    # The pair with an answer of two characters is left out, as in the published experiment.
    assert len(read_rows(tmp_path / "models" / REAL / "hh-rlhf.parquet")) == 1
    texts = read_jsonl(tmp_path / "models" / REAL / "titles.jsonl")
    assert [row["chosen"][0]["content"] for row in texts] == ["One title"] * 3


def test_few_rows_have_the_lengths_of_all() -> None:
    from benchmarks.contestants import of_all_lengths

    rows = [{"id": f"row-{size:04}", "prompt_ids": [0], "completion_ids": [0] * size}
            for size in range(1, 1001)]  # fmt: skip
    random.Random(3).shuffle(rows)
    found = [len(row["completion_ids"]) for row in of_all_lengths(rows, 4)]
    assert found == [126, 376, 626, 876]


def test_rows_of_the_hub_are_where_the_real_ones_are(hub: Path) -> None:
    from scripts.config.check import load
    from scripts.config.plan import make_plan

    datasets = make_plan(load([corpora.ROOT / "config.yaml"])).datasets
    counts = {
        name: len(corpora.real_messages(name, datasets[rows.dataset], hub))
        for name, rows in corpora.REAL_ROWS.items()
    }
    # 497 of the first 500 pairs, and 1787 of the others.
    assert counts == {"titles": 1026, "hh-rlhf": 497 + 1787, "gsm8k": 7473}


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
