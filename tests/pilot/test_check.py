"""The check from outside: it agrees with a run of the project, and finds what was altered."""

import ast
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilot import check
from scripts.common.files import read_json, read_rows, write_json, write_rows
from scripts.common.rows import DEMONSTRATIONS, GENERATIONS, PAIRS, PREFERENCES
from scripts.common.templates import template_path
from scripts.data import tokenize
from scripts.evaluate import score
from scripts.train import reference
from tests.conftest import ROOT

GREEDY = {"limit": None, "max_new_tokens": 12, "do_sample": False, "temperature": None,
          "top_p": None, "own_settings": False, "seed": 0, "batch_size": 4,
          "kl": False}  # fmt: skip
NOUNS = ("pens", "knots", "doors", "cafés", "screws", "days")
RUN = "trials/d/seed-0"


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def make_adapter(model: Path, out: Path, seed: int, scale: float) -> None:
    """Write an adapter with random weights, as large as a trained one's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model.parent / "snapshot", dtype=torch.float32)
    adapter = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
    made = get_peft_model(base, adapter)
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            weight.data = scale * torch.randn_like(weight)
    made.save_pretrained(out)


def make_run(model: Path, results: Path, texts: tuple[str, str], lengths: tuple[int, ...]) -> Path:
    """Run the project's own stages on a few rows: a trial that starts from another's adapter.

    Parameters
    ----------
    texts
        The templates of pairs and of prompts.
    lengths
        The longest row, and the longest prompt of a pair if it is bounded.
    """
    pairs = [
        {"id": f"p-{n}", "group": str(n), "prompt": said("user", f"How many {it}? " * (n + 1)),
         "chosen": said("assistant", f"Ada has {n} {it}."),
         "rejected": said("assistant", f"Begin by {it}, {it} and more {it}." * (n + 1))}
        for n, it in enumerate(NOUNS)
    ]  # fmt: skip
    sums = [
        {"id": f"s-{n}", "group": str(n), "prompt": said("user", f"{n} {it} and {n} more"),
         "completion": said("assistant", str(2 * n))}
        for n, it in enumerate(NOUNS)
    ]  # fmt: skip
    write_rows(results / "data/pairs/test.parquet", pairs, PREFERENCES)
    write_rows(results / "data/sums/test.parquet", sums, DEMONSTRATIONS)
    kinds = (("pairs", "preferences", texts[0]), ("sums", "demonstrations", texts[1]))
    for name, rows, text in kinds:
        words = ["--data", results / f"data/{name}/test.parquet", "--model", model, "--rows", rows,
                 "--max-length", lengths[0], "--out", results / f"tokens/{name}"]  # fmt: skip
        words += ["--template", path] if (path := template_path(text)) else []
        words += ["--max-prompt-length", *lengths[1:]] if name == "pairs" and lengths[1:] else []
        assert tokenize.main([str(word) for word in words]) == 0
    start = results / "trials/s/seed-0/adapter"
    make_adapter(model, start, 1, 0.05)
    make_adapter(model, results / RUN / "adapter", 2, 0.05)
    common = ["--model", model, "--precision", "float32", "--quantization", "none"]
    known = results / "references/s.parquet"
    words = [*common, "--start", start, "--tokens", results / "tokens/pairs/test.parquet",
             "--out", known]  # fmt: skip
    assert reference.main([str(word) for word in words]) == 0
    words = [*common, "--adapters", start, results / RUN / "adapter",
             "--pairs", results / "tokens/pairs/test.parquet", "--reference", known,
             "--prompts", results / "tokens/sums/test.parquet",
             "--generate", json.dumps({"sums": GREEDY}), "--out", results / RUN]  # fmt: skip
    assert score.main([str(word) for word in words]) == 0
    tokens = ".".join(["pairs", "tiny", texts[0], *map(str, lengths)])
    trial = {"name": "d", "seed": 0, "tokens": tokens, "start": "trials/s/seed-0"}
    write_json(results / RUN / "trial.json", trial | {"start_as": "merged"})
    read = {"pairs": "data/pairs/test.parquet", "sets": {"sums": "data/sums/test.parquet"}}
    sets = {"sampled": {"settings": GREEDY | {"do_sample": True}}, "sums": {"settings": GREEDY}}
    write_json(results / RUN / "metrics.json", {"read": read, "sets": sets})
    return results


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a run with the tokenizer's chat template."""
    return make_run(tiny_model, tmp_path_factory.mktemp("chat"), ("chat", "chat"), (256,))


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that may be altered."""
    return shutil.copytree(made, tmp_path / "results")


def checked(results: Path, model: Path, *more: str, precision: str = "float32") -> int:
    base = ["--base", str(model.parent / "snapshot"), "--precision", precision]
    return check.main([str(results / RUN), *base, *more])


def rows_of(out: str) -> dict[str, list[str]]:
    """Return the cells of the report's table by what is compared."""
    lines = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in lines[2:]}


def test_it_agrees_with_a_run(
    made: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(made, tiny_model, "--nats", "0.001", "--pairs", "4") == 0
    rows = rows_of(capsys.readouterr().out)
    assert {name: (cells[0], cells[-1]) for name, cells in rows.items()} == {
        "tokens of pairs": ("8", "0"),
        "log-probs of pairs (nats)": ("8", "0"),
        "log-probs of pairs under the reference (nats)": ("8", "0"),
        "prompts of sums": ("6", "0"),
        "answers to sums (logits)": ("6", "0"),
    }
    # The adapter moves the model: otherwise, agreeing would say little.
    found = read_rows(made / RUN / "pairs.parquet")
    assert min(abs(it["chosen_logp"] - it["reference_chosen_logp"]) for it in found) > 0.1


def test_it_agrees_with_the_published_texts_cut_to_their_lengths(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ("instruction-pairs", "instruction-eos")
    results = make_run(tiny_model, tmp_path / "results", texts, (96, 40))
    found = read_rows(results / "tokens/pairs/test.parquet")
    assert max(len(row["prompt_ids"]) for row in found) == 40
    assert max(len(row["prompt_ids"] + row["rejected_ids"]) for row in found) == 96
    assert checked(results, tiny_model, "--prompts-as", "instruction-eos") == 0
    capsys.readouterr()
    # A prompt that is written in another way is another prompt.
    assert checked(results, tiny_model, "--prompts-as", "chat") == 1
    assert rows_of(capsys.readouterr().out)["prompts of sums"][-1] == "6"


def alter_rows(name: str, schema: Any, **values: Any) -> Callable[[Path], object]:
    """Return what alters the first row of one of the run's Parquet files."""

    def alter(run: Path) -> None:
        rows = read_rows(run / f"{name}.parquet")
        rows[0] |= {key: edit(rows[0][key]) for key, edit in values.items()}
        write_rows(run / f"{name}.parquet", rows, schema)

    return alter


def alter_adapter(run: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = run / "adapter/adapter_model.safetensors"
    weights = load_file(path)
    name = next(it for it in weights if "lora_B" in it)
    save_file(weights | {name: weights[name] * 1.5}, path)


@pytest.mark.parametrize(
    ("alter", "line"),
    [
        (alter_rows("pairs", PAIRS, rejected_logp=lambda it: it - 0.02),
         "- log-probs of pairs (nats), p-0 rejected: off by 0.02"),
        (alter_rows("pairs", PAIRS, reference_chosen_logp=lambda it: it + 0.02),
         "- log-probs of pairs under the reference (nats), p-0 chosen: off by 0.02"),
        (alter_rows("pairs", PAIRS, chosen_logp=lambda it: float("nan")),
         "- log-probs of pairs (nats), p-0 chosen: off by nan"),
        (alter_rows("pairs", PAIRS, chosen_tokens=lambda it: it + 1),
         "- tokens of pairs, p-0 chosen: off by 1"),
        (alter_rows("generations", GENERATIONS, text=lambda it: f"no {it}"),
         "- answers to sums (logits), s-0: off by "),
        (alter_rows("generations", GENERATIONS, text=lambda it: it[:-1]),
         "- answers to sums (logits), s-0: off by "),
        (alter_rows("generations", GENERATIONS, tokens=lambda it: it - 1),
         "- answers to sums (logits), s-0: off by "),
        (alter_rows("generations", GENERATIONS, prompt=lambda it: f"{it} "),
         "- prompts of sums, s-0: off by 1"),
        (alter_adapter, "- log-probs of pairs (nats), p-0 chosen: off by "),
    ],
)  # fmt: skip
def test_what_was_altered_is_found(
    results: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str],
    alter: Callable[[Path], object], line: str,
) -> None:  # fmt: skip
    alter(results / RUN)
    assert checked(results, tiny_model, "--pairs", "2", "--answers", "2") == 1
    assert line in capsys.readouterr().out


def test_a_larger_bound_and_another_precision(
    results: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alter_rows("pairs", PAIRS, rejected_logp=lambda it: it - 3)(results / RUN)
    few = ("--pairs", "2", "--answers", "0")
    assert checked(results, tiny_model, *few, precision="bfloat16") == 1
    assert rows_of(capsys.readouterr().out)["log-probs of pairs (nats)"][-1] == "1"
    more = ("--nats", "4", "--rounding")
    assert checked(results, tiny_model, *few, *more, precision="bfloat16") == 0
    rows = rows_of(capsys.readouterr().out)
    number, largest, _, allowed, _ = rows["the same, here against float32 (nats)"]
    assert (number, allowed) == ("4", "any")
    assert 0 < float(largest) < 0.5
    number, largest, mean, allowed, disagree = rows["log-probs of pairs (nats)"]
    assert (number, allowed, disagree) == ("4", "4", "0")
    assert 2.5 < float(largest) < 3.5
    assert 0.625 < float(mean) < 1.2


def test_an_answer_may_part_where_two_tokens_are_as_likely() -> None:
    """A toy vocabulary: the answer's third token is as likely as the trial's, or is not."""
    torch = pytest.importorskip("torch")
    words = ["<end>", "a", " b", " c", " bc"]

    class Tokenizer:
        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return "".join(words[it] for it in ids if it)

    def gap(ids: list[int], second: tuple[int, int, float], text: str, stop: str = "eos") -> float:
        answer = check.Answer.__new__(check.Answer)
        answer.tokenizer, answer.ends, answer.ids = Tokenizer(), {0}, ids
        answer.logits = [torch.full((5,), -9.0).index_fill(0, torch.tensor([it]), 1) for it in ids]
        place, token, behind = second
        answer.logits[place][token] = 1 - behind
        return answer.gap({"text": text, "tokens": len(text.split()), "stop": stop})

    said, near = [1, 2, 3, 0], (2, 2, 0.125)
    assert gap(said, near, "a b c") == 0
    assert gap(said, near, "a b b c a") == 0.125
    assert gap(said, (2, 2, 5), "a b b c a") == 5
    # One of the two answers ends where the other has another token.
    assert gap(said, (2, 0, 0.25), "a b") == 0.25
    assert gap(said, (3, 1, 0.5), "a b ca") == 0.5
    # It has the same text with other tokens, or begins with another one altogether.
    assert gap([1, 4, 0], (1, 2, 0.125), "a bc b") == 0.125
    assert gap(said, near, "c b c") == 10


def test_no_line_of_the_project_is_imported() -> None:
    tree = ast.parse((ROOT / "pilot/check.py").read_text(encoding="utf-8"))
    found = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [it.name for it in node.names]
        )
    }
    assert found - sys.stdlib_module_names == {"torch", "transformers", "peft", "pandas"}
    calls = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not calls & {"__import__", "import_module", "exec", "eval"}


def test_what_is_missing_is_one_line(
    results: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / RUN / "pairs.parquet").unlink()
    assert checked(results, tiny_model) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: FileNotFoundError: ")
    assert error.count("\n") == 1
    content = read_json(results / RUN / "metrics.json")
    write_json(results / RUN / "metrics.json", content | {"read": {}})
    assert checked(results, tiny_model) == 1
    assert "error: " in capsys.readouterr().err
