"""Stand-ins for hub repositories that a rehearsal lacks, in the shape of the paper's.

The rows are the demo's, under the columns and file names of the published datasets. The models have
the architecture of the real ones, random weights, and the real tokenizer where it is available.
"""

import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.files import Row, read_jsonl

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

CORPORA = Path(__file__).resolve().parents[2] / "demo" / "corpora"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
# It names the configuration, as the real repository does.
GSM8K_CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
---
"""
# How Qwen2.5's instruction models sample by default.
QWEN_SAMPLING = {
    "do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05,
}  # fmt: skip


def write_stand_ins(root: Path, real: Path) -> None:
    """Write the repositories below `root`, with the tokenizers that `real` has."""
    shutil.rmtree(root, ignore_errors=True)
    _write_datasets(root / "datasets")
    for name, base in {
        "tiny-qwen2": "Qwen/Qwen2.5-14B-Instruct",
        "tiny-llama": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    }.items():
        folder = root / "models" / "rehearsal" / name
        folder.mkdir(parents=True)
        _write_model(name, folder, _tokenizer(name, real / "models" / base))


# -------------------------------------------------------------------------------------- datasets


def _write_datasets(root: Path) -> None:
    rows = read_jsonl(CORPORA / "titles.jsonl")
    # An idea has about ten pairs in a row: one of each in turn, so that few rows hold many ideas.
    titles = [row for first in range(10) for row in rows[first::10]]
    _write_parquet(root / "EliasHossain/youtube-titles-dpo/data", train=titles[:60],
                   valid=titles[60:80])  # fmt: skip
    problems = read_jsonl(CORPORA / "problems.jsonl")
    questions = [{"question": row["instruction"], "answer": row["response"]} for row in problems]
    _write_parquet(root / "openai/gsm8k/main", train=questions[:40], test=questions[40:60])
    (root / "openai/gsm8k/README.md").write_text(GSM8K_CARD, encoding="utf-8")
    # One of the first test items is in the rows to train on, so that it is left out.
    learned = [*problems[100:104], problems[41], *problems[104:160]]
    renamed = [
        {"INSTRUCTION": row["instruction"], "RESPONSE": row["response"], "SOURCE": "demo"}
        for row in learned
    ]
    _write_parquet(root / "qwedsacf/grade-school-math-instructions/data", train=renamed)
    dialogues = read_jsonl(CORPORA / "dialogues.jsonl")
    for place, part in enumerate(("harmless-base", "helpful-base")):
        mine = dialogues[place::2]
        _write_gzip(root / "Anthropic/hh-rlhf" / part, train=mine[:40], test=mine[40:60])


def _write_parquet(folder: Path, **splits: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for split, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")


def _write_gzip(folder: Path, **splits: list[Row]) -> None:
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


# ---------------------------------------------------------------------------------------- models


def _tokenizer(name: str, known: Path) -> "PreTrainedTokenizerBase":
    """Return the real tokenizer, or one trained on the demo's texts with the same end tokens."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    from scripts.models.demo import read_texts, train_tokenizer

    if (known / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(known, local_files_only=True)
    tokenizer = train_tokenizer(read_texts(CORPORA / "pretraining.jsonl"), 1024)
    if name == "tiny-qwen2":
        marks = [AddedToken(mark, special=True) for mark in ("<|im_start|>", "<|im_end|>")]
        tokenizer.add_tokens(marks, special_tokens=True)
        tokenizer.eos_token = "<|im_end|>"
        tokenizer.chat_template = CHATML
    else:
        # As TinyLlama's.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _write_model(name: str, folder: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config(name, tokenizer), dtype=torch.bfloat16)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sampling = QWEN_SAMPLING if name == "tiny-qwen2" else {}
    model.generation_config = GenerationConfig(**ends, **sampling)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _config(name: str, tokenizer: "PreTrainedTokenizerBase") -> "PretrainedConfig":
    from transformers import LlamaConfig, Qwen2Config

    kind = Qwen2Config if name == "tiny-qwen2" else LlamaConfig
    return kind(
        **SIZES,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
