"""Finds which items of a test stand, wholly or in part, in the rows of another training set.

    python -m scripts.data.overlap --rows data/grade-school-math/train.parquet \\
        --against data/gsm8k/test.parquet --out overlap.parquet --report overlap.json

Two usual measures, on texts without case, punctuation and width of white space:

- contained: the item's prompt stands word for word in a training row, or is its prompt. A prompt of
  fewer than 8 words, which other texts hold by chance, has to be a row's prompt.
- ngrams: one training row holds at least half (`--share`) of the prompt's distinct word 13-grams
  (`--ngram`), the size of Brown et al. 2020 (https://arxiv.org/abs/2005.14165, appendix C). A
  prompt of 8 to 12 words is one n-gram as a whole.

Brown et al. count an item as soon as one of its 13-grams is anywhere in the training texts, for
which a phrase in common suffices. The report has that number too (`any_ngram`); here an item
overlaps where it is contained or reaches the share. Answers (completion, or chosen) of at least 8
words are looked for in the same way, and only counted: the same answer in another notation
(GSM8K's with and without its calculator marks) is not found. An instruction that all prompts begin
with is part of them, and of what they share.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_json, write_rows
from scripts.common.rows import OVERLAP
from scripts.common.texts import SharedNgrams, ngrams, normalized, said

FEWEST_WORDS = 8
"""Brown et al.'s smallest n-gram."""
EXAMPLES = 5

Texts = dict[str, str]
"""Normalized text by id."""


def matches(items: Texts, rows: Texts, prompts: Texts, n: int, share: float) -> Iterator[Row]:
    """Yield every item with every training row that it overlaps with: id, kind, share, row.

    Parameters
    ----------
    items
        What is looked for.
    rows, prompts
        All that a training row says, and its prompt alone.
    n, share
        Words of an n-gram, and the least share of an item's n-grams in one row.
    """
    by_prompt = defaultdict(list)
    for row, prompt in prompts.items():
        by_prompt[prompt].append(row)
    for item, text in items.items():
        if 0 < _words(text) < FEWEST_WORDS:
            for row in by_prompt[text]:
                yield {"id": item, "kind": "contained", "share": 1.0, "row": row}
    for size, group in _by_size(items, n).items():
        names = list(group)
        shared = SharedNgrams(list(group.values()), size, share)
        for row, whole in rows.items():
            for place, count in shared.sharing(ngrams(whole, size)):
                item = names[place]
                contained = f" {items[item]} " in f" {whole} "
                yield {
                    "id": item,
                    "kind": "contained" if contained else "ngrams",
                    "share": count / len(shared.grams[place]),
                    "row": row,
                }


def touched(items: Texts, rows: Texts, n: int) -> int:
    """Return how many items have at least one n-gram in any training row."""
    count = 0
    for size, group in _by_size(items, n).items():
        grams = {item: ngrams(text, size) for item, text in group.items()}
        wanted = set().union(*grams.values())
        held = set().union(*(ngrams(whole, size) & wanted for whole in rows.values()))
        count += sum(not held.isdisjoint(own) for own in grams.values())
    return count


def best_matches(found: list[Row]) -> list[Row]:
    """Return the best match of each item: a contained one, else the highest share."""
    best: dict[str, Row] = {}
    for match in found:
        if match["id"] not in best or _rank(match) > _rank(best[match["id"]]):
            best[match["id"]] = match
    return list(best.values())


def _rank(match: Row) -> tuple[bool, float]:
    return match["kind"] == "contained", match["share"]


def _words(text: str) -> int:
    return len(text.split())


def _by_size(items: Texts, n: int) -> dict[int, Texts]:
    """Return the items that have enough words, by the size of their n-grams."""
    groups: dict[int, Texts] = defaultdict(dict)
    for item, text in items.items():
        if _words(text) >= FEWEST_WORDS:
            groups[min(n, _words(text))][item] = text
    return groups


def _counts(best: list[Row]) -> dict[str, int]:
    contained = sum(match["kind"] == "contained" for match in best)
    return {"contained": contained, "ngrams": len(best) - contained, "overlapping": len(best)}


def compare(items: list[Row], rows: list[Row], n: int, share: float) -> tuple[list[Row], Row]:
    """Return the overlapping items in the order of the items, and the report.

    Parameters
    ----------
    items, rows
        Canonical rows: the test's and the training set's.
    """
    questions = {item["id"]: normalized(said(item["prompt"])) for item in items}
    answers = {item["id"]: normalized(said(_answer(item))) for item in items}
    answers = {item: text for item, text in answers.items() if _words(text) >= FEWEST_WORDS}
    prompts = {row["id"]: normalized(said(row["prompt"])) for row in rows}
    wholes = {row["id"]: normalized("\n".join(_parts(row))) for row in rows}

    found = list(matches(questions, wholes, prompts, n, share))
    best = {match["id"]: match for match in best_matches(found)}
    overlapping = [best[item] for item in questions if item in best]
    answered = best_matches(list(matches(answers, wholes, {}, n, share)))
    report = {
        "items": len(items),
        "rows": len(rows),
        **_counts(overlapping),
        "any_ngram": touched(questions, wholes, n),
        "contaminating_rows": len({match["row"] for match in found}),
        "answers": {"items": len(answers), **_counts(answered)},
        "settings": {"ngram": n, "share": share, "fewest_words": FEWEST_WORDS},
        "examples": [match["id"] for match in overlapping[:EXAMPLES]],
    }
    return overlapping, report


def _answer(row: Row) -> list[Row]:
    return row["completion"] if "completion" in row else row["chosen"]


def _parts(row: Row) -> list[str]:
    return [said(row[name]) for name in ("prompt", "completion", "chosen", "rejected")
            if name in row]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Write the overlapping items as Parquet and the counts as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.data.overlap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=Path, required=True, help="canonical training rows")
    parser.add_argument("--against", type=Path, required=True, help="canonical rows of the test")
    parser.add_argument("--ngram", type=int, default=13, help="words of an n-gram")
    parser.add_argument("--share", type=float, default=0.5, help="least share, above 0 up to 1")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    if arguments.ngram < FEWEST_WORDS:
        raise BadInput(f"--ngram: found {arguments.ngram}, allowed is {FEWEST_WORDS} or more")
    if not 0 < arguments.share <= 1:
        raise BadInput(f"--share: found {arguments.share:g}, allowed is above 0 and up to 1")
    rows, items = read_rows(arguments.rows), read_rows(arguments.against)
    overlapping, report = compare(items, rows, arguments.ngram, arguments.share)
    write_rows(arguments.out, overlapping, OVERLAP)
    write_json(arguments.report, report)
    return 0


if __name__ == "__main__":
    run(main)
