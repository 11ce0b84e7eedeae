"""Check that a model can have the adapters that trials train on it, before any of them is trained.

Nothing is loaded: the model is made on torch's meta device, from its configuration.
"""

import argparse
import json
import sys
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import write_json


def check_adapters(manifest: Path, adapters: list[dict]) -> None:
    """Check each adapter.

    Parameters
    ----------
    adapters
        Each with its `lora`, as in the resolved trial, and the names of its `trials`.

    Raises
    ------
    BadInput
        With each adapter that the model cannot have, and its trials.
    """
    from transformers import AutoConfig

    from scripts.lm.tokenizers import snapshot_folder
    from scripts.train.estimate.sizes import layout

    folder = snapshot_folder(manifest)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    wrong = []
    for adapter in adapters:
        try:
            layout(config, adapter["lora"])
        except (BadInput, ValueError) as error:
            trials = ", ".join(adapter["trials"])
            wrong.append(f"trial {trials}: {' '.join(str(error).split())}")
    if wrong:
        raise BadInput("; ".join(wrong))


def main(argv: list[str] | None = None) -> int:
    """Check a model's adapters, and write which trials' they are. Raises as check_adapters does."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.check", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="manifest.json of the base model")
    parser.add_argument("--adapters", choices=["-"], required=True, help="JSON on standard input")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    adapters = json.load(sys.stdin)
    check_adapters(arguments.model, adapters)
    write_json(arguments.out, adapters)
    return 0


if __name__ == "__main__":
    run(main)
