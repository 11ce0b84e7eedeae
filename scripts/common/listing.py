"""Writes a list of the plan into a file of its own, from standard input.

Of a thousand trials it is too long for an argument.

    python -m scripts.common.listing --out results/trials.json < trials.json
"""

import argparse
import json
import sys
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import write_json


def main(argv: list[str] | None = None) -> int:
    """Writes the list; returns 0. Raises BadInput where standard input holds no JSON list."""
    parser = argparse.ArgumentParser(prog="python -m scripts.common.listing", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    try:
        items = json.load(sys.stdin)
    except ValueError as error:
        raise BadInput(f"standard input: found no JSON ({error}); allowed is a list") from None
    if not isinstance(items, list):
        raise BadInput(f"standard input: found {type(items).__name__}, allowed is a list")
    write_json(arguments.out, items)
    return 0


if __name__ == "__main__":
    run(main)
