"""Backends: how a trial loads its base model and attaches an adapter.

`transformers` is transformers and PEFT as they are. `unsloth` is Unsloth (https://unsloth.ai/docs).
Its import patches transformers, PEFT and TRL for the rest of the process, so it has to come before
them, and only if a trial names it. Both return a PEFT model, which is merged, trained and saved in
the same way.

As a command, try each backend on this machine and write its versions and device, so that a run
stops before its first download if one of them cannot run.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scripts.common.cli import BadInput, run
from scripts.common.files import write_json

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")


class Backend(Protocol):
    """Loads a base model and attaches the adapter that is trained on it."""

    packages: tuple[str, ...]
    """Those whose versions are recorded."""

    def start(self, scratch: Path) -> None:
        """Import what must come before transformers; what it compiles goes below `scratch`."""

    def load(
        self, manifest: str | Path, precision: str, quantization: str, checkpointing: bool = False
    ) -> "PreTrainedModel":
        """Return the base model of a manifest.json, in evaluation mode."""

    def attach(
        self, model: "PreTrainedModel", adapter: "LoraConfig", seed: int, checkpointing: bool
    ) -> "PeftModel":
        """Return the model with a fresh adapter, which depends only on the seed."""


class Transformers:
    """Transformers and PEFT as they are."""

    packages: tuple[str, ...] = PACKAGES

    def start(self, scratch: Path) -> None:
        """Import PEFT, and with it torch and transformers."""
        import peft  # noqa: F401

    def load(
        self, manifest: str | Path, precision: str, quantization: str, checkpointing: bool = False
    ) -> "PreTrainedModel":
        """Return the base model. The trainer turns on checkpointing."""
        from scripts.lm.snapshots import load_base

        return load_base(manifest, precision, quantization)

    def attach(
        self, model: "PreTrainedModel", adapter: "LoraConfig", seed: int, checkpointing: bool
    ) -> "PeftModel":
        """Return the model with PEFT's fresh adapter."""
        from peft import get_peft_model
        from transformers import set_seed

        set_seed(seed)
        return get_peft_model(model, adapter)


class Unsloth:
    """Unsloth's FastLanguageModel: its own kernels on a GPU, plain torch on a CPU."""

    packages: tuple[str, ...] = (*PACKAGES, "unsloth", "unsloth_zoo")

    def start(self, scratch: Path) -> None:
        """Import Unsloth, without access to the network."""
        if "transformers" in sys.modules and "unsloth" not in sys.modules:
            raise RuntimeError("transformers was imported first, and Unsloth could not patch it")
        os.environ |= {
            "UNSLOTH_COMPILE_LOCATION": str(scratch.resolve() / "unsloth_compiled_cache"),
            "UNSLOTH_DISABLE_STATISTICS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if shutil.which("nvidia-smi") and not hidden:
            # If torch does not see the GPU, something is wrong: do not train on the CPU.
            os.environ["UNSLOTH_DISABLE_CPU_FALLBACK"] = "1"
        # Unsloth prints to standard output, which belongs to the workflow.
        sys.stdout = sys.stderr
        import unsloth  # noqa: F401

    def load(
        self, manifest: str | Path, precision: str, quantization: str, checkpointing: bool = False
    ) -> "PreTrainedModel":
        """Return the base model.

        Raises
        ------
        BadInput
            When the snapshot's tensors are not those of its model, or Unsloth would not do what is
            asked: not compute in float32, not load in 4 bit, or add tokens.
        """
        import torch

        from scripts.lm.checks import read_config
        from scripts.lm.snapshots import check_weights, weights_dtype
        from scripts.lm.tokenizers import snapshot_folder

        dtype = weights_dtype(precision)
        if dtype == torch.float32 and torch.cuda.is_available():
            raise BadInput(
                "precision: found float32; on a GPU, backend unsloth computes in 16 bit whatever "
                "the weights are: use auto, bfloat16 or float16, or backend: transformers"
            )
        check_weights(manifest)
        from unsloth import FastLanguageModel

        folder = snapshot_folder(manifest)
        config = read_config(folder)
        model, _ = FastLanguageModel.from_pretrained(
            str(folder),
            # Longer rows are cut. The rows were cut to the configured length before.
            max_seq_length=config.max_position_embeddings,
            dtype=dtype,
            load_in_4bit=quantization == "nf4",
            use_gradient_checkpointing=_checkpointing(checkpointing),
            use_exact_model_name=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        if quantization == "nf4" and not getattr(model, "is_loaded_in_4bit", False):
            raise BadInput(f"backend unsloth: it does not load {folder} in 4 bit on this machine")
        if model.get_input_embeddings().weight.shape[0] != config.vocab_size:
            raise BadInput(f"backend unsloth: it gives {folder} tokens that its tokenizer lacks")
        return model.eval()

    def attach(
        self, model: "PreTrainedModel", adapter: "LoraConfig", seed: int, checkpointing: bool
    ) -> "PeftModel":
        """Return the model with Unsloth's fresh adapter."""
        from unsloth import FastLanguageModel

        modules = adapter.target_modules
        return FastLanguageModel.get_peft_model(
            model,
            r=adapter.r,
            lora_alpha=adapter.lora_alpha,
            lora_dropout=adapter.lora_dropout,
            target_modules=modules if isinstance(modules, str) else sorted(modules),
            init_lora_weights=adapter.init_lora_weights,
            rank_pattern=adapter.rank_pattern,
            alpha_pattern=adapter.alpha_pattern,
            use_rslora=adapter.use_rslora,
            layers_to_transform=adapter.layers_to_transform,
            modules_to_save=adapter.modules_to_save,
            random_state=seed,
            use_gradient_checkpointing=_checkpointing(checkpointing),
        )


def _checkpointing(wanted: bool) -> str | bool:
    """Return Unsloth's setting for its own checkpointing, with activations in main memory."""
    return "unsloth" if wanted else False


BACKENDS: dict[str, Backend] = {"transformers": Transformers(), "unsloth": Unsloth()}


def start_backend(name: str, scratch: Path) -> Backend:
    """Import a backend and return it; to be called before transformers is imported.

    Raises
    ------
    BadInput
        When there is no such backend, or it cannot be imported here.
    """
    if name not in BACKENDS:
        raise BadInput(f"backend: found {name}; allowed are {', '.join(BACKENDS)}")
    try:
        BACKENDS[name].start(scratch)
    except Exception as error:
        raise _cannot_run(name, f"{type(error).__name__}: {error}") from error
    return BACKENDS[name]


def _cannot_run(name: str, reason: str) -> BadInput:
    others = " or ".join(other for other in BACKENDS if other != name)
    line = " ".join(reason.split())
    return BadInput(f"backend {name} cannot run here: {line}; use backend: {others} instead")


def versions(name: str) -> dict[str, str]:
    """Return the version of each package that a backend trains with."""
    from importlib.metadata import version

    return {package: version(package) for package in BACKENDS[name].packages}


def try_backend(name: str, scratch: Path) -> dict[str, Any]:
    """Return versions and device of a backend, after running a tiny model in this process.

    Raises
    ------
    BadInput
        When it cannot.
    """
    start_backend(name, scratch)
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from scripts.lm.devices import device_name

        sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=64, num_hidden_layers=1, **sizes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = LlamaForCausalLM(config).to(device)
        model(input_ids=torch.tensor([[1, 2, 3]], device=device))
        return {"versions": versions(name), "device": device_name()}
    except Exception as error:
        raise _cannot_run(name, f"{type(error).__name__}: {error}") from error


def try_in_process(name: str) -> dict[str, Any]:
    """Return the same from a new process: Unsloth's patches must not affect other backends.

    Raises
    ------
    BadInput
        When the backend cannot run here, or its process dies.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        try:
            return process.submit(try_backend, name, Path(scratch)).result()
        except BrokenProcessPool:
            raise _cannot_run(name, "its process died") from None


def main(argv: list[str] | None = None) -> int:
    """Write versions and device of each backend, or stop at the first that cannot run."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lm.backends", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(BACKENDS))
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    write_json(arguments.out, {name: try_in_process(name) for name in arguments.names})
    return 0


if __name__ == "__main__":
    run(main)
