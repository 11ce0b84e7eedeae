"""Compute a reference model's log-probs of preference pairs, once for all trials that use it."""

import argparse
import tempfile
from pathlib import Path

from scripts.common.cli import run
from scripts.common.files import read_rows, write_json, write_rows
from scripts.common.rows import REFERENCE, UNPAIRED_REFERENCE
from scripts.train.unpaired import unpaired


def main(argv: list[str] | None = None) -> int:
    """Write a row per pair, with its id and log-probs, and a JSON file with what they cost."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.reference", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument(
        "--backend", default="transformers", help="that of the trials: each rounds differently"
    )
    parser.add_argument("--precision", required=True)
    parser.add_argument("--quantization", required=True)
    parser.add_argument("--start", type=Path, help="adapter to merge into the reference")
    parser.add_argument("--tokens", type=Path, required=True, help="token split of pairs")
    parser.add_argument("--window", type=int, help="of single rows with partners: micro-batch")
    parser.add_argument("--seed", type=int, help="of single rows: their order")
    parser.add_argument("--reference", type=Path, help="of single rows: the pairs' log-probs")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)

    from scripts.lm.backends import start_backend
    from scripts.lm.devices import Meter, pin_threads, precision_of
    from scripts.lm.pairs import pair_logps, partner_logps
    from scripts.lm.snapshots import merge_adapters

    with tempfile.TemporaryDirectory() as scratch:
        backend = start_backend(arguments.backend, Path(scratch))
        pin_threads()
        meter = Meter()
        base = backend.load(arguments.model, arguments.precision, arguments.quantization)
        model = merge_adapters(base, [arguments.start] if arguments.start else [])
        pairs = read_rows(arguments.tokens)
        if arguments.window:
            rows = unpaired(pairs, arguments.seed, arguments.window)
            logps = partner_logps(model, rows, read_rows(arguments.reference))
        else:
            logps = pair_logps(model, pairs)
    write_rows(arguments.out, logps, UNPAIRED_REFERENCE if arguments.window else REFERENCE)
    cost = meter.cost() | {"precision": precision_of(model)}
    write_json(arguments.out.with_suffix(".json"), cost)
    return 0


if __name__ == "__main__":
    run(main)
