"""Train the demo's base model: a byte-level BPE tokenizer and a small Llama, from scratch.

The result is a Hugging Face snapshot like any other base model's, so that everything behind it
runs on it unchanged. The same corpus, settings and packages give the same bytes.

    python -m scripts.models.demo --corpus demo/corpora/pretraining.jsonl \\
        --model '{"hidden_size": 128, ...}' --out results/models/demo/snapshot \\
        --manifest results/models/demo/manifest.json \\
        --tokenizer-manifest results/models/demo/tokenizer/manifest.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput, run
from scripts.common.columns import read_rows
from scripts.common.files import make_shared
from scripts.common.folders import is_full
from scripts.models.fetch import fetch_tokenizer
from scripts.models.manifest import write_manifest

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = Path(__file__).with_name("demo_chat_template.jinja")
SNAPSHOT = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)

BETAS = (0.9, 0.95)
CLIP = 1.0
WEIGHT_DECAY = 0.01
REPORT_EVERY = 100


@dataclass(frozen=True)
class ModelSettings:
    """The sizes of the model and how long it is trained."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    steps: int
    batch_size: int
    sequence_length: int
    learning_rate: float
    warmup_steps: int
    seed: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name != "learning_rate"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise ValueError(
                    f"{field.name}: expected a {'whole ' if whole else ''}number, not {value!r}"
                )
            if value < (0 if field.name in ("warmup_steps", "seed") else math.ulp(0)):
                raise ValueError(f"{field.name}: {value!r} is too small")
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size: must be an even multiple of num_attention_heads")
        if self.sequence_length > self.max_position_embeddings:
            raise ValueError("sequence_length: must not exceed max_position_embeddings")
        if self.warmup_steps >= self.steps:
            raise ValueError("warmup_steps: must be fewer than steps")


def read_settings(text: str) -> ModelSettings:
    """Return the settings in a JSON object; raise ValueError for a missing or unknown key."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("the model settings must be a JSON object")
    names = {field.name for field in fields(ModelSettings)}
    if missing := sorted(names - values.keys()):
        raise ValueError(f"missing model settings: {', '.join(missing)}")
    if unknown := sorted(values.keys() - names):
        allowed = ", ".join(sorted(names))
        raise ValueError(f"unknown model settings: {', '.join(unknown)}; allowed: {allowed}")
    return ModelSettings(**values)


def read_texts(corpus: Path) -> list[str]:
    """Return the ``text`` of each row that is not blank; raise BadInput where there is none."""
    texts = []
    try:
        for place, row in read_rows(corpus, {"text": "text"}):
            if row["text"] is None:
                raise BadInput(f"{place}: no text; each row needs one")
            if row["text"].strip():
                texts.append(row["text"])
        if not texts:
            raise BadInput("no text at all; at least one is needed")
    except BadInput as error:
        raise BadInput(f"{corpus}: {error}") from None
    return texts


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with the demo's chat template.

    It adds no bos of its own: the chat template and the packing write it. Raise ValueError where
    ``vocab_size`` has no room for the bytes and the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BOS, EOS, *ROLES]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet) + len(special):
        raise ValueError(f"vocab_size: at least {len(alphabet) + len(special)} are needed")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # The trainer's alphabet is an unordered set: sorted, it numbers the bytes alike every time.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8").rstrip("\n"),
        clean_up_tokenization_spaces=False,
    )


def pack(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, sequence_length: int
) -> torch.Tensor:
    """Return the texts, each between bos and eos, as rows of exactly ``sequence_length`` tokens.

    The rest that fills no row is left out; raise ValueError where not one row is filled.
    """
    import torch

    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    rows = len(stream) // sequence_length
    if not rows:
        raise ValueError(
            f"sequence_length: found {sequence_length}; the texts have {len(stream)} tokens, which "
            "do not fill one row"
        )
    return torch.tensor(stream[: rows * sequence_length]).view(rows, sequence_length)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Fix the seed, one thread and deterministic kernels, and put all of them back afterwards."""
    import torch

    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory before it is written; filling it costs a seventh of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = filling
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)


def new_model(
    settings: ModelSettings, vocab_size: int, bos: int, eos: int, pad: int
) -> LlamaForCausalLM:
    """Return an untrained Llama that generates greedily up to eos."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        num_key_value_heads=settings.num_attention_heads,
        max_position_embeddings=settings.max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad
    )
    return model


def rate(step: int, settings: ModelSettings) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine down to nearly 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def batches(tokens: torch.Tensor, settings: ModelSettings) -> Iterator[torch.Tensor]:
    """Yield one batch a step, every row once before any comes again."""
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(settings.steps):
        while len(order) < settings.batch_size:
            order = torch.cat([order, torch.randperm(len(tokens), generator=generator)])
        yield tokens[order[: settings.batch_size]]
        order = order[settings.batch_size :]


def report(step: int, settings: ModelSettings, loss: float, tokens_per_second: float) -> None:
    """Print one line of progress to stderr."""
    print(
        f"step {step}/{settings.steps} loss {loss:.4f} tokens/s {tokens_per_second:.0f}",
        file=sys.stderr,
        flush=True,
    )


def pretrain(
    model_settings: ModelSettings, tokens: torch.Tensor, tokenizer: PreTrainedTokenizerFast
) -> LlamaForCausalLM:
    """Return a model trained on the packed rows, the same for the same arguments."""
    import torch

    with reproducible(model_settings.seed):
        model = new_model(
            model_settings,
            len(tokenizer),
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        ).train()
        optimizer = torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=WEIGHT_DECAY)
        begun = time.perf_counter()
        for step, batch in enumerate(batches(tokens, model_settings)):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, model_settings)
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            done = step + 1
            if done % REPORT_EVERY == 0 or done == model_settings.steps:
                speed = done * batch.numel() / (time.perf_counter() - begun)
                report(done, model_settings, loss.item(), speed)
    return model.eval()


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the snapshot; ``out`` receives its files only when all of them are whole."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            make_shared(Path(partial, "model.safetensors"))
            for name in SNAPSHOT:
                os.replace(Path(partial, name), out / name)
    except Exception as error:
        if not is_full(error):
            raise
        raise BadInput(f"{out}: the disk is full ({error})") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Train the tokenizer and the model on a corpus; write the snapshot and its manifests.

    Raise BadInput for settings or a corpus that cannot be used.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="JSONL with a text a row")
    parser.add_argument("--model", required=True, help="the model settings, a JSON object")
    parser.add_argument("--out", type=Path, required=True, help="folder of the snapshot")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--tokenizer-manifest", type=Path, required=True, help="the same, of all but the weights"
    )
    args = parser.parse_args(argv)
    try:
        settings = read_settings(args.model)
        texts = read_texts(args.corpus)
        tokenizer = train_tokenizer(texts, settings.vocab_size)
        rows = pack(texts, tokenizer, settings.sequence_length)
    except ValueError as error:
        raise BadInput(f"--model: {error}") from None
    tokenizer.model_max_length = settings.max_position_embeddings
    model = pretrain(settings, rows, tokenizer)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{parameters} parameters, {len(tokenizer)} tokens", file=sys.stderr)
    save(model, tokenizer, args.out)
    write_manifest(args.manifest, args.out, {"source": "demo"})
    fetch_tokenizer({"folder": str(args.out)}, args.tokenizer_manifest)
    return 0


if __name__ == "__main__":
    run(main)
