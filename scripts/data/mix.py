"""Mixes datasets: rows of several under names that say of which, and nothing computed again.

    python -m scripts.data.mix rows --mixture '{"of": {"a": {"rows": 100, …}, …}, "seed": 0}' \\
        --files a/train.parquet a/valid.parquet a/test.parquet b/train.parquet … --out data/mixed
    python -m scripts.data.mix tokens --rows data/mixed/{train,valid,test}.parquet --parts a b \\
        --files tokens/a/train.parquet … --reports tokens/a/report.json … --out tokens/mixed
    python -m scripts.data.mix reference --rows data/mixed/train.parquet --parts a b \\
        --files references/a/train.parquet … --out references/mixed/train.parquet

A row's id and group begin with its part's name and a slash.
"""

import argparse
import json
import random
from collections.abc import Iterable
from math import floor
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_json, read_rows, read_table, write_json, write_rows
from scripts.common.rows import CONVERSATION_TOKENS, DROPPED, REFERENCE
from scripts.common.splits import SPLITS
from scripts.common.texts import said
from scripts.data.tokenize import COUNTS, report_of

Parts = dict[str, dict[str, list[Row]]]
"""The rows of each split of each part."""


def mixed(parts: Parts, settings: Row) -> tuple[dict[str, list[Row]], list[Row]]:
    """Return the rows of each split of a mixture, and those left out.

    A row of train that says what one of an earlier part says is left out, and so is one whose
    prompt is in another part's valid or test.

    Raises
    ------
    BadInput
        When a part has fewer rows than it is to have.
    """
    fresh, dropped = _fresh(parts)
    counts = _counts(fresh, settings["of"])
    train = []
    for part, rows in fresh.items():
        places = list(range(len(rows)))
        # Shuffled whole, so that fewer rows are a part of more.
        random.Random(f"{settings['seed']} {part}").shuffle(places)
        train += [rows[place] for place in sorted(places[: counts[part]])]
    held_out = {
        split: [_named(part, row) for part, splits in parts.items() for row in splits[split]]
        for split in ("valid", "test")
    }
    return {"train": train, **held_out}, dropped


def _fresh(parts: Parts) -> tuple[dict[str, list[Row]], list[Row]]:
    """Return each part's rows of train that stand nowhere else, and the others with the reason."""
    asked: dict[str, str] = {}
    for part, splits in parts.items():
        for split in ("valid", "test"):
            asked |= {said(row["prompt"]): part for row in splits[split]}
    seen: dict[tuple[str, ...], str] = {}
    fresh: dict[str, list[Row]] = {}
    dropped = []
    for part, splits in parts.items():
        fresh[part] = []
        for row in splits["train"]:
            named, other = _named(part, row), asked.get(said(row["prompt"]), part)
            texts = tuple(said(row[key]) for key in ("prompt", *_completions(row)))
            reason = f"its prompt is held out in {other}" if other != part else None
            if (twin := seen.setdefault(texts, part)) != part:
                reason = f"{twin} has it, too"
            if reason:
                dropped.append({"id": named["id"], "split": "train", "reason": reason})
            else:
                fresh[part].append(named)
    return fresh, dropped


def _completions(row: Row) -> list[str]:
    return [name for name in ("completion", "chosen", "rejected") if name in row]


def _named(part: str, row: Row) -> Row:
    return row | {"id": f"{part}/{row['id']}", "group": f"{part}/{row['group']}"}


def _counts(rows: dict[str, list[Row]], shares: dict[str, Row]) -> dict[str, int]:
    """Return how many rows of train each part gives."""
    if all(share["rows"] for share in shares.values()):
        for part, share in shares.items():
            if share["rows"] > len(rows[part]):
                text = (
                    f"found {len(rows[part])} rows of train; the mixture asks for {share['rows']}"
                )
                raise BadInput(f"{part}: {text}")
        return {part: share["rows"] for part, share in shares.items()}
    each = min(len(rows[part]) / share["weight"] for part, share in shares.items())
    # The small number guards against products such as 0.55 * 20 = 11.000000000000002.
    return {part: floor(share["weight"] * each + 1e-9) for part, share in shares.items()}


def taken(ids: list[str], parts: dict[str, list[Row]]) -> list[Row]:
    """Return the rows of several parts with these ids, in that order, as far as they are there."""
    found = {f"{part}/{row['id']}": row for part, rows in parts.items() for row in rows}
    return [found[name] | {"id": name} for name in ids if name in found]


def mix_rows(arguments: argparse.Namespace) -> None:
    """Write the canonical splits of a mixture, and what was left out."""
    settings = arguments.mixture
    parts = {
        part: dict(zip(SPLITS, map(read_rows, paths), strict=True))
        for part, paths in _of_parts(settings["of"], arguments.files).items()
    }
    splits, dropped = mixed(parts, settings)
    schema = read_table(arguments.files[0]).schema
    for split, rows in splits.items():
        write_rows(arguments.out / f"{split}.parquet", rows, schema)
    write_rows(arguments.out / "dropped.parquet", dropped, DROPPED)


def mix_tokens(arguments: argparse.Namespace) -> None:
    """Write the token splits of a mixture and the report on them."""
    files = _of_parts(arguments.parts, arguments.files)
    reports = dict(zip(arguments.parts, map(read_json, arguments.reports), strict=True))
    schemas = [read_table(file).schema for file in arguments.files]
    every = CONVERSATION_TOKENS in schemas
    schema = CONVERSATION_TOKENS if every else schemas[0]
    written = {}
    for number, path in enumerate(arguments.rows):
        ids = [row["id"] for row in read_rows(path)]
        parts = {part: read_rows(paths[number]) for part, paths in files.items()}
        rows = taken(ids, parts)
        if every:
            marks = [{"prompt_scored": [False] * len(row["prompt_ids"])} for row in rows]
            rows = [mark | row for mark, row in zip(marks, rows, strict=True)]
        write_rows(arguments.out / path.name, rows, schema)
        wanted = set(ids)
        named = {
            part: {
                name: [it for it in (f"{part}/{one}" for one in found) if it in wanted]
                for name, found in report[path.stem]["noted"].items()
            }
            for part, report in reports.items()
        }
        noted = {name: [it for part in named.values() for it in part[name]] for name in COUNTS}
        dropped = [
            row | {"id": f"{part}/{row['id']}"}
            for part, report in reports.items()
            for row in report[path.stem]["dropped"]
            if f"{part}/{row['id']}" in wanted
        ]
        written[path.stem] = report_of(rows, dropped, noted)
    write_json(arguments.out / "report.json", written)


def _of_parts(parts: Iterable[str], files: list[Path]) -> dict[str, list[Path]]:
    """Return each part's files: those of all splits, part by part."""
    size = len(SPLITS)
    return {part: files[size * place : size * (place + 1)] for place, part in enumerate(parts)}


def mix_reference(arguments: argparse.Namespace) -> None:
    """Write the log-probs of a mixture's pairs, and their precision; the parts' have the cost."""
    ids = [row["id"] for row in read_rows(arguments.rows[0])]
    parts = dict(zip(arguments.parts, map(read_rows, arguments.files), strict=True))
    write_rows(arguments.out, taken(ids, parts), REFERENCE)
    record = read_json(arguments.files[0].with_suffix(".json"))
    write_json(arguments.out.with_suffix(".json"), {"precision": record["precision"]})


KINDS = {"rows": mix_rows, "tokens": mix_tokens, "reference": mix_reference}


def main(argv: list[str] | None = None) -> int:
    """Write the rows, tokens or log-probs of a mixture."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.data.mix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--mixture", type=json.loads, help="its parts and seed")
    parser.add_argument("--rows", type=Path, nargs="+", help="its canonical splits")
    parser.add_argument("--parts", nargs="+", help="the names of its parts")
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="splits, part by part")
    parser.add_argument("--reports", type=Path, nargs="+", help="on each part's tokens")
    parser.add_argument("--out", type=Path, required=True, help="folder, or file of a reference")
    arguments = parser.parse_args(argv)
    KINDS[arguments.kind](arguments)
    return 0


if __name__ == "__main__":
    run(main)
