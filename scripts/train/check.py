"""Check that a model has its tensors and can have an adapter, before any trial trains such a one.

No weight is loaded: the model is made on torch's meta device, from its configuration.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import write_json


def check_adapter(manifest: Path, lora: dict[str, Any]) -> None:
    """Raise BadInput if the model of a manifest cannot have an adapter, as in a resolved trial."""
    from scripts.lm.checks import read_config
    from scripts.lm.tokenizers import snapshot_folder
    from scripts.train.estimate.sizes import layout

    config = read_config(snapshot_folder(manifest))
    try:
        layout(config, lora)
    except (BadInput, ValueError) as error:
        raise BadInput(f"{manifest}: {' '.join(str(error).split())}") from error


def main(argv: list[str] | None = None) -> int:
    """Check an adapter, and write it down."""
    from scripts.lm.snapshots import check_weights

    parser = argparse.ArgumentParser(prog="python -m scripts.train.check", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="manifest.json of the base model")
    parser.add_argument("--lora", type=json.loads, required=True, help="the adapter, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    check_weights(arguments.model)
    check_adapter(arguments.model, arguments.lora)
    write_json(arguments.out, arguments.lora)
    return 0


if __name__ == "__main__":
    run(main)
