"""Check that a model can have an adapter, before any trial is trained with such a one.

Nothing is loaded: the model is made on torch's meta device, from its configuration.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import write_json


def check_adapter(manifest: Path, lora: dict[str, Any]) -> None:
    """Check an adapter, as in the resolved trial.

    Raises
    ------
    BadInput
        If the model cannot have it.
    """
    from transformers import AutoConfig

    from scripts.lm.tokenizers import snapshot_folder
    from scripts.train.estimate.sizes import layout

    folder = snapshot_folder(manifest)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    try:
        layout(config, lora)
    except (BadInput, ValueError) as error:
        raise BadInput(f"model {folder}: {' '.join(str(error).split())}") from error


def main(argv: list[str] | None = None) -> int:
    """Check an adapter, and write it down. Raises as check_adapter does."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.check", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="manifest.json of the base model")
    parser.add_argument("--lora", type=json.loads, required=True, help="the adapter, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    check_adapter(arguments.model, arguments.lora)
    write_json(arguments.out, arguments.lora)
    return 0


if __name__ == "__main__":
    run(main)
