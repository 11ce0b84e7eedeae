"""Compute a reference model's log-probs of preference rows, once for all trials that use it."""

import argparse
import tempfile
from pathlib import Path

from scripts.common.cli import run
from scripts.common.files import read_rows, write_json, write_rows
from scripts.common.rows import PARTNERS_REFERENCE, REFERENCE, UNPAIRED_REFERENCE
from scripts.train.unpaired import unpaired


def main(argv: list[str] | None = None) -> int:
    """Write each row's id and log-probs, and a JSON file with what they cost."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.reference", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument(
        "--backend", default="transformers", help="that of the trials: each rounds differently"
    )
    parser.add_argument("--precision", required=True)
    parser.add_argument("--quantization", required=True)
    parser.add_argument("--start", type=Path, help="adapter to merge into the reference")
    parser.add_argument("--tokens", type=Path, required=True, help="token split")
    parser.add_argument("--window", type=int, help="of single rows with partners: micro-batch")
    parser.add_argument("--seed", type=int, help="of single rows: their order")
    parser.add_argument("--reference", type=Path, help="of single rows: the pairs' log-probs")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)

    from scripts.lm.backends import start_backend
    from scripts.lm.devices import Meter, pin_threads, precision_of
    from scripts.lm.pairs import partner_logps, reference_logps
    from scripts.lm.snapshots import merge_adapters

    with tempfile.TemporaryDirectory() as scratch:
        backend = start_backend(arguments.backend, Path(scratch))
        pin_threads()
        meter = Meter()
        base = backend.load(arguments.model, arguments.precision, arguments.quantization)
        model = merge_adapters(base, [arguments.start] if arguments.start else [])
        rows = read_rows(arguments.tokens)
        schema = UNPAIRED_REFERENCE if rows and "label" in rows[0] else REFERENCE
        if arguments.window:
            schema = PARTNERS_REFERENCE
            single = unpaired(rows, arguments.seed, arguments.window)
            logps = partner_logps(model, single, read_rows(arguments.reference))
        else:
            logps = reference_logps(model, rows)
    write_rows(arguments.out, logps, schema)
    cost = meter.cost() | {"precision": precision_of(model)}
    write_json(arguments.out.with_suffix(".json"), cost)
    return 0


if __name__ == "__main__":
    run(main)
