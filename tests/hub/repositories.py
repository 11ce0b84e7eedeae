"""Repositories for a loopback hub: real ones, if this machine has them, and small made-up ones."""

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "owner/model"
SHARD = "model-00001-of-00002.safetensors"
TOKENIZER_FILES = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]
WEIGHT_FILES = [SHARD, "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
OTHER_FILES = ["README.md", "modeling.py", "pytorch_model.bin"]


def real_hub() -> Path:
    """Return the folder of real repositories, which may not exist."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "hub"
    return Path(os.environ.get("PREFMAKE_HUB", beside))


def write_model(root: Path) -> Path:
    """Write a model repository of the usual files, of random but fixed bytes as far as may be."""
    folder = root / "models" / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    shards = {f"part.{number}": name for number, name in enumerate(WEIGHT_FILES[:2])}
    needed = {
        "config.json": {"model_type": "llama", "vocab_size": 2},
        "tokenizer.json": {
            "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
            "added_tokens": [],
        },
        WEIGHT_FILES[2]: {"metadata": {}, "weight_map": shards},
    }
    for number, name in enumerate([*TOKENIZER_FILES, *WEIGHT_FILES, *OTHER_FILES]):
        anything = random.Random(number)
        if name.endswith(".safetensors"):
            content = _safetensors(
                f"part.{number - len(TOKENIZER_FILES)}", anything.randbytes(300_000)
            )
        elif name.endswith(".json"):
            free = {"anything": anything.randbytes(130).hex()} if "config" in name else {}
            content = json.dumps(needed.get(name, {}) | free).encode()
        else:
            content = anything.randbytes(150).hex().encode()
        (folder / name).write_bytes(content)
    return folder


def _safetensors(tensor: str, data: bytes) -> bytes:
    """Return a file with one tensor, of bytes."""
    part = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    header = json.dumps({tensor: part}).encode()
    return len(header).to_bytes(8, "little") + header + data


def write_hh_rlhf(root: Path) -> Path:
    """Write a dataset repository in the form of Anthropic/hh-rlhf, with a few rows in each file.

    Four folders of pairs, a fifth with other columns that is one JSON list, and front matter.
    """
    folder = root / "datasets" / "owner" / "hh-rlhf"
    for part in ("helpful-base", "harmless-base", "helpful-rejection-sampled", "helpful-online"):
        for split, count in {"train": 3, "test": 2}.items():
            rows = [_pair(f"{part} {split} {number}") for number in range(count)]
            _write_gzip(folder / part / f"{split}.jsonl.gz", "\n".join(map(json.dumps, rows)))
    odd = {"min_harmlessness_score_transcript": -1.0, "transcript": "x", "tags": [["a", 1], None]}
    red = folder / "red-team-attempts" / "red_team_attempts.jsonl.gz"
    _write_gzip(red, json.dumps([odd, {"rating": None}]))
    (folder / "README.md").write_text("---\nlicense: mit\ntags:\n- human-feedback\n---\n# Pairs\n")
    (folder / ".gitattributes").write_text("*.gz filter=lfs diff=lfs merge=lfs -text\n")
    return folder


def _pair(name: str) -> dict[str, Any]:
    """Return a pair. Some are odd: empty, of one turn, with other scripts and line ends."""
    odd = {"0": "\n\nHuman: hi", "1": ""}.get(
        name[-1], "\n\nAssistant: \u2028\u0085 ¿né? 好 \\u0000"
    )
    return {"chosen": f"\n\nHuman: {name}\n\nAssistant: yes", "rejected": odd}


def _write_gzip(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
