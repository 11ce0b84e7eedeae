"""Check that a folder has all that tables and figures read, as it was published."""

import argparse
from pathlib import Path

from scripts.common.cli import run
from scripts.common.files import read_json
from scripts.provenance.publish import check_published


def main(argv: list[str] | None = None) -> int:
    """Check; return 0. Raises as `check_published` does."""
    parser = argparse.ArgumentParser(prog="python -m scripts.provenance.check_published")
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args(argv)
    check_published(read_json(arguments.files), arguments.root)
    return 0


if __name__ == "__main__":
    run(main)
