"""Each format's page: its rows, read as its config says, are learned as it shows."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from scripts.config.check import load
from scripts.config.data import Dataset, formats_of
from scripts.config.plan import make_plan
from scripts.data.doctor import Split, shown
from scripts.data.fetch import fetch_files
from scripts.data.prepare import canonical_rows
from scripts.data.tokenize import COMPLETIONS, Encoder, tokenize_rows
from scripts.lm.tokenizers import read_tokenizer

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "formats"
BLOCK = re.compile(r"^```jsonl\n(.*?)^```.*?^```yaml\n(.*?)^```.*?^```text\n(.*?)^```", re.M | re.S)
EXAMPLES = {
    f"{path.stem}-{number}": (path.stem, *found)
    for path in sorted(PAGES.glob("*.md"))
    for number, found in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")))
}
CONFIG = """\
accelerator: cpu
models: {{m: {{source: {{folder: {model}}}}}}}
datasets:
  d:
{dataset}
experiments:
  e:
    model: m
    max_length: 256
    {phase}: {{dataset: d, test: null, trials: [{{name: t, max_steps: 1{more}}}]}}
"""


def test_each_format_has_a_page() -> None:
    kinds = ("demonstrations", "preferences", "unpaired")
    declared = [name for kind in kinds for name in formats_of(kind)]
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted(declared)
    assert len(declared) == len(get_args(get_args(Dataset)[0]))
    assert {name for name, *_ in EXAMPLES.values()} == set(declared)


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_rows_are_learned_as_it_shows(
    example: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name, rows, dataset, learned = EXAMPLES[example]
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    phase = "sft" if name in formats_of("demonstrations") else "preference"
    alone = ", method: kto, per_device_train_batch_size: 2" if name == "unpaired" else ""
    config = CONFIG.format(
        model=ROOT / "demo" / "base", phase=phase, more=alone,
        dataset=re.sub(r"^", "    ", dataset, flags=re.M),
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    plan = make_plan(load([tmp_path / "config.yaml"]))
    found = plan.datasets["d"]
    (tokens,) = plan.tokens.values()

    table, _ = fetch_files(found.source["file"], found.columns)
    canonical, dropped = canonical_rows(table.to_pylist(), found.rows)
    assert not dropped
    called = "tool_calls" in rows
    hub = request.getfixturevalue("hub") if called else None
    folder = hub / "models/Qwen/Qwen2.5-14B-Instruct" if hub else ROOT / "demo" / "base"
    tokenizer = read_tokenizer(folder)
    kept, report = tokenize_rows(
        canonical, Encoder(tokenizer), COMPLETIONS[tokens.rows], 512, every=tokens.every_turn
    )
    assert not report["dropped"]
    texts = [as_text(row) for row in shown([Split("train", canonical, kept, report)], tokenizer)]
    if called:
        texts = [text[text.index("<|im_start|>user") :] for text in texts]
    assert "\n\n".join(text.removesuffix("\n") for text in texts) + "\n" == learned


def as_text(row: dict[str, Any]) -> str:
    return "".join(f"⟦{text}⟧" if scored else text for text, scored in row["texts"])


def test_the_examples_are_whole() -> None:
    for _, rows, *_ in EXAMPLES.values():
        assert all(isinstance(json.loads(line), dict) for line in rows.splitlines())
