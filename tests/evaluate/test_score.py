"""Scoring: margins by hand, prompts once each, and all files of one model."""

import json
from pathlib import Path

import pytest

from scripts.common.files import read_rows, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS, REFERENCE
from scripts.evaluate import score
from scripts.evaluate.score import distinct_prompts, join_reference
from scripts.lm.logprobs import completion_logps
from scripts.lm.snapshots import load_base


def test_the_margin_is_beta_times_the_change_of_the_difference() -> None:
    policy = [{"id": "a", "chosen_logp": -8.0, "rejected_logp": -12.0}]
    reference = [{"id": "a", "chosen_logp": -9.0, "rejected_logp": -10.0}]
    tokens = [{"id": "a", "chosen_ids": [1, 2, 3], "rejected_ids": [4]}]
    (row,) = join_reference(tokens, policy, reference, beta=0.1)
    assert row["margin"] == pytest.approx(0.1 * ((-8 + 9) - (-12 + 10)))
    assert row["reference_rejected_logp"] == -10
    assert (row["chosen_tokens"], row["rejected_tokens"]) == (3, 1)


def test_each_prompt_is_answered_once() -> None:
    rows = [{"id": str(i), "prompt_ids": [1, i // 2]} for i in range(8)]
    assert [row["id"] for row in distinct_prompts(rows, None)] == ["0", "2", "4", "6"]
    assert [row["id"] for row in distinct_prompts(rows, 2)] == ["0", "2"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    prompt = {"id": "x", "prompt_ids": [1, 20]}
    rows = {
        "completions": ([prompt | {"completion_ids": [40, 2]}], COMPLETION_TOKENS),
        "pairs": ([prompt | {"chosen_ids": [40], "rejected_ids": [41, 42]}], PREFERENCE_TOKENS),
        "reference": ([{"id": "x", "chosen_logp": -1.0, "rejected_logp": -2.0}], REFERENCE),
    }
    for name, (content, schema) in rows.items():
        write_rows(tmp_path / f"{name}.parquet", content, schema)
    return {name: tmp_path / f"{name}.parquet" for name in rows}


def run(model: Path, out: Path, *more: object) -> dict[str, list[dict[str, object]]]:
    command = ["--model", model, "--precision", "float32", "--quantization", "none",
               "--out", out, *more]  # fmt: skip
    assert score.main([str(word) for word in command]) == 0
    return {path.stem: read_rows(path) for path in sorted(out.glob("*.parquet"))}


def test_a_base_is_its_own_reference(
    tiny_model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    greedy = {"limit": None, "max_new_tokens": 3, "do_sample": False, "temperature": None,
              "top_p": None, "own_settings": False, "seed": 0, "batch_size": 2,
              "kl": False}  # fmt: skip
    settings = {"short": greedy, "long": greedy | {"max_new_tokens": 6}}
    found = run(tiny_model, tmp_path / "out", "--completions", files["completions"],
                "--pairs", files["pairs"], "--reference", files["reference"],
                "--prompts", files["pairs"], files["pairs"],
                "--generate", json.dumps(settings))  # fmt: skip
    assert found["pairs"][0]["chosen_logp"] == found["pairs"][0]["reference_chosen_logp"] == -1
    assert found["pairs"][0]["margin"] == 0
    assert (found["pairs"][0]["chosen_tokens"], found["pairs"][0]["rejected_tokens"]) == (1, 2)
    assert found["completions"][0]["tokens"] == 2
    assert found["completions"][0]["logp"] < 0
    short, long = found["generations"]
    assert (short["set"], long["set"]) == ("short", "long")
    assert short["tokens"] <= 3
    assert long["text"].startswith(short["text"])


def test_all_answers_of_a_conversation_are_scored(tiny_model: Path) -> None:
    """Each after all that comes before it."""
    model = load_base(tiny_model, "float32", "none")
    ids, marks = [1, 20, 40, 2, 21, 41], [False, False, True, True, False, True]
    row = {"id": "x", "prompt_ids": ids, "prompt_scored": marks, "completion_ids": [42, 2]}
    (found,) = score.score_completions(model, [row])
    parts = [([1, 20], [40, 2]), ([1, 20, 40, 2, 21], [41, 42, 2])]
    alone = completion_logps(model, parts)
    assert found["tokens"] == 5
    assert found["logp"] == pytest.approx(sum(map(sum, alone)), abs=1e-4)


def test_a_base_has_no_kl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "out", "--generate", '{"a": {"kl": true}}', "--prompts", "a")
    assert "kl: true needs --adapters: a base is its own reference" in capsys.readouterr().err


def test_every_set_of_prompts_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "out", "--generate", '{"a": {}}')


def test_what_is_not_asked_for_is_empty(tiny_model: Path, tmp_path: Path) -> None:
    found = run(tiny_model, tmp_path / "out")
    assert found == {"completions": [], "generations": [], "pairs": []}
